// SPDX-License-Identifier: Apache-2.0
#include "doctor/examine.h"

#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <optional>

#include "base/printable.h"
#include "base/strings.h"
#include "failures/host.h"
#include "sys/process.h"
#include "sys/unix_socket.h"

namespace pinhole::doctor {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

constexpr std::size_t kAtOnce = 4;  // most wait for a tool or a disk
constexpr std::size_t kShownOutput = 300;
constexpr milliseconds kReap{1000};

struct Running {
  std::size_t row = 0;
  std::optional<sys::Process> process;
  Fd out, err;
  std::string text, errors;
  steady_clock::time_point deadline;
};

RowReport ended(const Row& row, Error error) {
  RowReport report{.found = {problem(std::move(error))}};
  report.found.front().name = row.name;
  return report;
}

Result<Running> start(const Row& row, std::size_t number, const ExamineOptions& options) {
  PINHOLE_TRY(auto out, sys::make_pipe());
  PINHOLE_TRY(auto err, sys::make_pipe());
  std::vector<std::string> args = options.arguments;
  args.emplace_back(row.name);
  if (options.fix) args.emplace_back("--fix");
  PINHOLE_TRY(auto process,
              sys::spawn({.program = options.program,
                          .args = std::move(args),
                          .environment = sys::whole_environment(),
                          .descriptors = {{1, out.second.get()}, {2, err.second.get()}},
                          .may_gain_privileges = true}));
  for (const Fd* end : {&out.first, &err.first}) sys::set_nonblocking(end->get());
  return Running{.row = number,
                 .process = std::move(process),
                 .out = std::move(out.first),
                 .err = std::move(err.first),
                 .text = {},
                 .errors = {},
                 .deadline = steady_clock::now() + row.deadline};
}

void drain(Fd& from, std::string& into, std::size_t limit) {
  std::array<char, 8192> chunk;
  for (;;) {
    const ssize_t n = ::read(from.get(), chunk.data(), chunk.size());
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (n <= 0) return from.reset();
    into.append(chunk.data(), std::min(static_cast<std::size_t>(n), limit - into.size()));
  }
}

/// One that not even SIGKILL ends (a dead network file system) is left behind: waiting for it would hang us too.
void give_up(sys::Process& process) {
  process.signal(SIGKILL);
  if (!process.wait_for(kReap)) process.release();
}

RowReport report_of(const Row& row, Running& running) {
  const auto status = running.process->wait_for(kReap);
  if (!status) give_up(*running.process);
  auto report = parse_report(running.text);
  if (report && status && status->ok()) return *std::move(report);
  Error error = failures::told(failures::kRowDied,
                               {{"row", std::string(row.name)},
                                {"how", status ? status->text() : std::string("does not end")}});
  const std::string_view last = trim(running.errors);
  if (!last.empty()) error.details.push_back(printable(last, kShownOutput));
  return ended(row, std::move(error));
}

class Examination {
 public:
  Examination(const std::vector<Row>& rows, const ExamineOptions& options)
      : rows_(rows), options_(options), reports_(rows.size()) {}

  std::vector<RowReport> run() {
    while (next_ < rows_.size() || !running_.empty()) {
      while (next_ < rows_.size() && running_.size() < kAtOnce && !cancelled_) start_next();
      if (cancelled_ || running_.empty()) break;
      if (options_.on_wait) options_.on_wait(rows_[running_.front().row].name);
      wait();
      std::erase_if(running_, [this](Running& one) { return is_done(one); });
    }
    for (Running& one : running_) give_up(*one.process);
    return std::move(reports_);
  }

 private:
  void start_next() {
    const std::size_t number = next_++;
    const Row& row = rows_[number];
    auto started = start(row, number, options_);
    if (started) return running_.push_back(*std::move(started));
    Error error = failures::told(failures::kRowDied,
                                 {{"row", std::string(row.name)}, {"how", "could not be started"}});
    error.details.push_back(started.error().message);
    reports_[number] = ended(row, std::move(error));
  }

  void wait() {
    std::vector<pollfd> waited{{options_.cancel_fd, POLLIN, 0}};
    auto first = steady_clock::time_point::max();
    for (const Running& one : running_) {
      waited.push_back({one.out.get(), POLLIN, 0});
      waited.push_back({one.err.get(), POLLIN, 0});
      first = std::min(first, one.deadline);
    }
    constexpr std::int64_t kTick = 500;  // so that the seconds shown go on
    const auto left = std::chrono::ceil<milliseconds>(first - steady_clock::now()).count();
    ::poll(waited.data(), waited.size(),
           static_cast<int>(std::clamp<std::int64_t>(left, 0, kTick)));
    cancelled_ = waited.front().revents != 0;
  }

  /// Its output's end is its end: what it started may hold stderr open for longer.
  bool is_done(Running& one) {
    const Row& row = rows_[one.row];
    if (one.err) drain(one.err, one.errors, kShownOutput);
    if (one.out) drain(one.out, one.text, kLargestReport);
    if (!one.out) {
      reports_[one.row] = report_of(row, one);
      return true;
    }
    if (steady_clock::now() < one.deadline) return false;
    give_up(*one.process);
    const auto seconds = std::chrono::ceil<std::chrono::seconds>(row.deadline).count();
    reports_[one.row] =
        ended(row, failures::told(failures::kRowHangs, {{"row", std::string(row.name)},
                                                        {"seconds", std::to_string(seconds)}}));
    return true;
  }

  const std::vector<Row>& rows_;
  const ExamineOptions& options_;
  std::vector<RowReport> reports_;
  std::vector<Running> running_;
  std::size_t next_ = 0;
  bool cancelled_ = false;
};

}  // namespace

std::vector<RowReport> examine(const std::vector<Row>& rows, const ExamineOptions& options) {
  return Examination(rows, options).run();
}

}  // namespace pinhole::doctor
