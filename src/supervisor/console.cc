// SPDX-License-Identifier: Apache-2.0
#include "supervisor/console.h"

#include <array>

#include "base/clock.h"
#include "base/printable.h"
#include "base/strings.h"
#include "sys/files.h"

namespace pinhole::supervisor {
namespace {

constexpr std::uint64_t kFileLimit = 4 << 20;  // then console.log becomes console.log.1
constexpr std::size_t kTailLines = 20;
constexpr std::size_t kTailLineBytes = 240;

}  // namespace

ConsoleLog::ConsoleLog(asio::io_context& io, std::filesystem::path path, Fd file, Fd read_end)
    : path_(std::move(path)), file_(std::move(file)), pipe_(io, read_end.release()) {}

Result<std::unique_ptr<ConsoleLog>> ConsoleLog::open(asio::io_context& io,
                                                     const std::filesystem::path& path,
                                                     Fd read_end) {
  PINHOLE_TRY(Fd file, sys::open_append(path));
  std::unique_ptr<ConsoleLog> console(
      new ConsoleLog(io, path, std::move(file), std::move(read_end)));
  std::error_code error;
  console->size_ = std::filesystem::file_size(path, error);
  console->write(fmt::format("=== boot {} ===\n", now_text()));
  return console;
}

asio::awaitable<void> ConsoleLog::run() {
  std::array<char, 16384> chunk;
  for (;;) {
    const auto [error, n] = co_await pipe_.async_read_some(asio::buffer(chunk), as_result);
    if (error) co_return;
    bytes_seen_ += n;
    write({chunk.data(), n});
    remember({chunk.data(), n});
  }
}

void ConsoleLog::write(std::string_view bytes) {
  if (size_ > kFileLimit) {
    std::error_code error;
    std::filesystem::rename(path_, path_.string() + ".1", error);
    if (auto fresh = sys::open_append(path_)) file_ = std::move(*fresh);
    size_ = 0;
  }
  // On a full disk the machine goes on and its words are lost.
  if (sys::write_all(file_.get(), bytes)) size_ += bytes.size();
}

void ConsoleLog::remember(std::string_view bytes) {
  for (const char c : bytes) {
    if (c != '\n') {
      if (unfinished_.size() < kTailLineBytes) unfinished_ += c;
      continue;
    }
    if (const std::string_view line = trim(unfinished_); !line.empty()) lines_.emplace_back(line);
    unfinished_.clear();
    if (lines_.size() > kTailLines) lines_.pop_front();
  }
}

std::vector<std::string> ConsoleLog::tail() const {
  std::vector<std::string> out;
  for (const std::string& line : lines_) out.push_back(printable(line, kTailLineBytes));
  if (!trim(unfinished_).empty()) out.push_back(printable(trim(unfinished_), kTailLineBytes));
  return out;
}

}  // namespace pinhole::supervisor
