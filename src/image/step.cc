// SPDX-License-Identifier: Apache-2.0
#include "image/step.h"

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <deque>

#include "base/printable.h"
#include "base/strings.h"
#include "sys/host_confinement.h"
#include "sys/process.h"
#include "sys/unix_socket.h"
#include "sys/user.h"

namespace pinhole::image {
namespace {

using std::chrono::steady_clock;

constexpr std::size_t kMaxLine = 4096;
constexpr std::size_t kKeptLines = 8;
constexpr std::chrono::milliseconds kStopGrace{500};

/// Cuts what a program writes into lines and keeps the last ones for the error.
class Lines {
 public:
  explicit Lines(const StepContext& context) : context_(context) {}

  void add(std::string_view bytes) {
    for (const char c : bytes) {
      if (c == '\n' || c == '\r') {
        finish();
      } else if (current_.size() < kMaxLine) {
        current_ += c;
      }
    }
  }
  void finish() {
    if (trim(current_).empty()) return current_.clear();
    if (context_.on_line) context_.on_line(current_);
    last_.push_back(std::move(current_));
    if (last_.size() > kKeptLines) last_.pop_front();
    current_.clear();
  }
  /// Complaints alone where there are any ("E: …"), else the end of the output.
  [[nodiscard]] std::vector<std::string> explanation() const {
    std::vector<std::string> complaints;
    std::vector<std::string> all;
    for (const std::string& line : last_) {
      all.push_back(printable(line, 200));
      if (line.starts_with("E: ") || line.find("rror") != std::string::npos)
        complaints.push_back(all.back());
    }
    return complaints.empty() ? all : complaints;
  }

 private:
  const StepContext& context_;
  std::string current_;
  std::deque<std::string> last_;
};

std::map<std::string, std::string> environment(const Step& step) {
  std::map<std::string, std::string> variables = {
      {"PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"},
      {"LC_ALL", "C.UTF-8"},
      {"HOME", "/nonexistent"},
      {"DEBIAN_FRONTEND", "noninteractive"},
      {"INITRD", "No"},             // the kernel package's hook makes none; ours is made later
      {"MTOOLSRC", "/dev/null"},    // nobody's drive letters
      {"MTOOLS_SKIP_CHECK", "1"}};  // a file system inside a larger file
  if (!step.temporary.empty()) variables["TMPDIR"] = step.temporary.string();
  if (!step.unconfined) return variables;
  for (const char* name : {"http_proxy", "https_proxy", "no_proxy"}) {
    if (auto value = sys::env(name)) variables[name] = *std::move(value);
  }
  return variables;
}

/// 0 is the caller, everything else the caller's subordinate ids.
std::vector<sys::IdMap> mapped_root(std::uint32_t own, const sys::IdRange& subordinate) {
  return {{.inside = 0, .outside = own, .count = 1},
          {.inside = 1, .outside = subordinate.first, .count = subordinate.count}};
}

Result<void> map_root(sys::Isolation& isolation) {
  PINHOLE_TRY(const sys::User user, sys::current_user());
  const auto uids = sys::subordinate_ids("/etc/subuid", user);
  const auto gids = sys::subordinate_ids("/etc/subgid", user);
  if (!uids || !gids)
    return fail("user \"{}\" has no subordinate ids (/etc/subuid, /etc/subgid)", user.name);
  isolation.uid_map = mapped_root(user.uid, *uids);
  isolation.gid_map = mapped_root(user.gid, *gids);
  return {};
}

Result<sys::Isolation> isolation_for(const Step& step, const std::filesystem::path& program) {
  sys::FileView view{.paths = sys::runtime_libraries()};
  view.paths.push_back({.path = program, .access = sys::Visible::Access::execute});
  view.paths.insert(view.paths.end(), step.sees.begin(), step.sees.end());
  if (step.sees_mounts) view.proc = sys::FileView::Proc::whole;
  sys::Isolation isolation = sys::apart(std::move(view));
  if (!step.as_mapped_root) return sys::available_here(std::move(isolation));
  PINHOLE_TRY_VOID(map_root(isolation));
  return isolation;
}

Result<sys::Command> confined_command(const Step& step) {
  const auto program = sys::find_program(step.program);
  if (!program) return fail("cannot {}: {} is missing", step.doing, step.program);
  sys::Command command{.program = *program, .args = step.args, .environment = environment(step)};
  // As mapped root, a step may change its root and make the image's own setuid files.
  if (!step.as_mapped_root) command.filter = sys::SpawnFilter::descriptors_only;
  auto isolation = isolation_for(step, *program);
  if (!isolation)
    return fail(std::move(isolation).error().context(fmt::format("cannot {}", step.doing)));
  command.isolation = *std::move(isolation);
  return command;
}

/// --kill-child: the namespace's first process, and with it all others, dies when unshare does, and unshare dies when we
/// do. The umask is ours (077), which no system could live with.
Result<sys::Command> unconfined_command(const Step& step) {
  const auto program = sys::find_program("unshare");
  if (!program) return fail("cannot {}: unshare is missing", step.doing);
  sys::Command command{.program = *program,
                       .args = {"--user", "--map-root-user", "--map-auto", "--mount", "--pid",
                                "--fork", "--kill-child", "--mount-proc", "--", "/bin/sh", "-c",
                                "umask 022; exec \"$@\"", "sh", step.program},
                       .environment = environment(step),
                       .may_gain_privileges = true};  // newuidmap
  command.args.insert(command.args.end(), step.args.begin(), step.args.end());
  return command;
}

enum class Outcome { ended, cancelled, timed_out, stopped };

/// Reads until the output ends, which is when the last process that holds it does.
/// `stopped`: `why` holds what context.watch said.
Outcome follow(const Fd& output, Lines& lines, const StepContext& context,
               steady_clock::time_point deadline, Result<void>& why) {
  const std::int64_t longest = context.watch ? kWatchEvery.count() : 60'000;
  std::array<char, 16384> chunk;
  for (;;) {
    const auto left =
        std::chrono::ceil<std::chrono::milliseconds>(deadline - steady_clock::now()).count();
    if (left <= 0) return Outcome::timed_out;
    std::array<pollfd, 2> waited = {pollfd{output.get(), POLLIN, 0},
                                    pollfd{context.cancel_fd, POLLIN, 0}};
    ::poll(waited.data(), waited.size(), static_cast<int>(std::min<std::int64_t>(left, longest)));
    if (waited[1].revents != 0) return Outcome::cancelled;
    if (context.watch) why = context.watch();
    if (!why) return Outcome::stopped;
    if (waited[0].revents == 0) continue;
    const ssize_t n = ::read(output.get(), chunk.data(), chunk.size());
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return Outcome::ended;
    lines.add(std::string_view(chunk.data(), static_cast<std::size_t>(n)));
  }
}

Error cancelled(const Step& step) {
  return {.message = fmt::format("stopped before it could {}", step.doing),
          .exit_status = 130,
          .code = "cancelled"};
}

}  // namespace

Result<void> run_step(const Step& step, const StepContext& context) {
  PINHOLE_TRY(sys::Command command,
              step.unconfined ? unconfined_command(step) : confined_command(step));
  PINHOLE_TRY(auto pipe, sys::make_pipe());
  command.descriptors = {{1, pipe.second.get()}, {2, pipe.second.get()}};
  PINHOLE_TRY(sys::Process process, sys::spawn(command));
  pipe.second.reset();
  Lines lines(context);
  Result<void> watched;
  const Outcome outcome =
      follow(pipe.first, lines, context, steady_clock::now() + step.limit, watched);
  if (outcome == Outcome::stopped) {
    process.stop(kStopGrace);
    return watched;
  }
  if (outcome == Outcome::cancelled) {
    process.stop(kStopGrace);
    return fail(cancelled(step));
  }
  if (outcome == Outcome::timed_out) {
    process.stop(kStopGrace);
    return fail("cannot {}: {} did not end within {} minutes", step.doing, step.program,
                step.limit.count());
  }
  lines.finish();
  const sys::ExitStatus status = process.wait_for(std::chrono::seconds(10))
                                     .value_or(sys::ExitStatus{.signaled = true, .value = 9});
  if (status.ok()) return {};
  return fail(
      Error{.message = fmt::format("cannot {}: {} {}", step.doing, step.program, status.text()),
            .details = lines.explanation()});
}

}  // namespace pinhole::image
