// SPDX-License-Identifier: Apache-2.0
#include "supervisor/console.h"

#include <array>

#include "base/clock.h"
#include "base/printable.h"

namespace pinhole::supervisor {
namespace {

constexpr std::size_t kTailLines = 20;
constexpr std::size_t kTailLineBytes = 240;

}  // namespace

ConsoleLog::ConsoleLog(asio::io_context& io, CappedLog log, Fd read_end, OnSigns on_signs)
    : log_(std::move(log)),
      pipe_(io, read_end.release()),
      end_(io),
      text_({.grown = nullptr, .line = [this](std::string_view line) { remember(line); }}),
      on_signs_(std::move(on_signs)) {}

Result<std::unique_ptr<ConsoleLog>> ConsoleLog::open(asio::io_context& io,
                                                     const std::filesystem::path& path, Fd read_end,
                                                     OnSigns on_signs) {
  PINHOLE_TRY(CappedLog log, CappedLog::open(path));
  std::unique_ptr<ConsoleLog> console(
      new ConsoleLog(io, std::move(log), std::move(read_end), std::move(on_signs)));
  console->log_.write(fmt::format("=== boot {} ===\n", now_text()));
  return console;
}

asio::awaitable<void> ConsoleLog::run() {
  std::array<char, 16384> chunk;
  for (;;) {
    const auto [error, n] = co_await pipe_.async_read_some(asio::buffer(chunk), as_result);
    if (error) break;
    bytes_seen_ += n;
    log_.write({chunk.data(), n});  // on a full disk the machine goes on, and its words are lost
    text_.feed({chunk.data(), n});
    const auto signs = signs_.feed({chunk.data(), n});
    if (!signs.empty() && on_signs_) on_signs_(signs);
  }
  ended_ = true;
  end_.notify();
}

asio::awaitable<void> ConsoleLog::drained(std::chrono::milliseconds limit) {
  const auto deadline = std::chrono::steady_clock::now() + limit;
  bool in_time = true;
  while (!ended_ && in_time) in_time = co_await end_.wait_until(deadline);
}

void ConsoleLog::remember(std::string_view line) {
  lines_.emplace_back(line.substr(0, kTailLineBytes));
  if (lines_.size() > kTailLines) lines_.pop_front();
}

std::vector<std::string> ConsoleLog::tail() const {
  std::vector<std::string> out;
  for (const std::string& line : lines_) out.push_back(printable(line, kTailLineBytes));
  if (!text_.unfinished().empty()) out.push_back(printable(text_.unfinished(), kTailLineBytes));
  if (out.size() > kTailLines) out.erase(out.begin());
  return out;
}

}  // namespace pinhole::supervisor
