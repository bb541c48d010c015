// SPDX-License-Identifier: Apache-2.0
#include "cli/launch_vm.h"

#include <poll.h>
#include <unistd.h>

#include <array>
#include <cerrno>

#include <boost/json.hpp>

#include "base/json.h"
#include "base/printable.h"
#include "cli/guard.h"
#include "cli/interrupts.h"
#include "cli/secrets.h"
#include "cli/terminal.h"
#include "leftovers/images.h"
#include "leftovers/start.h"
#include "preflight/authority.h"
#include "supervisor/supervisor.h"
#include "sys/files.h"
#include "sys/process.h"
#include "sys/unix_socket.h"
#include "sys/user.h"

namespace pinhole::cli {
namespace {

namespace json = boost::json;

constexpr auto kInterruptedStop = std::chrono::seconds(15);
constexpr auto kLastWords = std::chrono::seconds(5);

/// The supervisor needs no more of the user's environment than its folders and tools.
std::map<std::string, std::string> supervisor_environment() {
  std::map<std::string, std::string> out;
  for (const char* name : {"HOME", "PATH", "XDG_DATA_HOME", "XDG_STATE_HOME", "XDG_RUNTIME_DIR",
                           "XDG_CONFIG_HOME", "TMPDIR", "PINHOLE_SOAK_RESTARTS"}) {
    if (const auto value = sys::env(name)) out[name] = *value;
  }
  return out;
}

class Report {
 public:
  Report(const config::VmPlan& plan, const LaunchWords& words)
      : plan_(plan), terminal_(fancy(2)), quiet_(words.quiet || (words.brief && !terminal_)) {
    redraw();
  }

  /// True when the VM is up.
  Result<bool> line(std::string_view text) {
    boost::system::error_code error;
    const json::value value = json::parse(text, error);
    if (error || !value.is_object()) return fail("the supervisor's report is not understood");
    const json::object& event = value.get_object();
    const std::string kind = text_of(event, "event");
    if (kind == "running") return true;
    if (kind == "failed") return fail(supervisor::error_from(event));
    if (kind == "stage") stage(event);
    if (kind == "entered") enter(text_of(event, "name"));
    if (kind == "note") note(event);
    policy_stands_ = policy_stands_ || (kind == "stage" && text_of(event, "name") == "policy");
    return false;
  }
  /// True once: the PEP is there, and the guest is not yet.
  bool time_for_secrets() { return policy_stands_ && !std::exchange(secrets_told_, true); }

  /// One line, with the stage and the seconds since the start; on a terminal only.
  void redraw() {
    if (!terminal_ || quiet_) return;
    progress_.show(entered_.empty() ? fmt::format("starting {}…", plan_.name)
                                    : fmt::format("starting {}: {}…", plan_.name, entered_));
  }
  /// How long the line may stay as it is, as poll(2) has it.
  [[nodiscard]] int redraw_ms() const { return terminal_ && !quiet_ ? 1000 : -1; }

 private:
  void enter(const std::string& name) {
    entered_ = printable(name, 40);
    redraw();
  }
  /// Whatever the user does not want to see, this he has to.
  void note(const json::object& event) {
    progress_.done(fmt::format("note: {}", printable(text_of(event, "text"), 1200)));
    progress_.done(fmt::format("  fix:  {}", printable(text_of(event, "fix"), 300)));
    redraw();
  }
  void stage(const json::object& event) {
    const std::string name = text_of(event, "name");
    const json::value* ms = event.if_contains("ms");
    const json::value* ok = event.if_contains("ok");
    const double seconds =
        ms != nullptr && ms->is_int64() ? static_cast<double>(ms->get_int64()) / 1000 : 0;
    const bool good = ok != nullptr && ok->is_bool() && ok->get_bool();
    // On a terminal the line above tells it, and is gone when the VM is up.
    if (!quiet_ && !terminal_) {
      progress_.done(fmt::format("  {} {:<11} {:>6.1f} s  {}", good ? "ok  " : "FAIL", name,
                                 seconds, printable(text_of(event, "detail"), 160)));
    }
  }

  const config::VmPlan& plan_;
  bool terminal_, quiet_;
  std::string entered_;
  bool policy_stands_ = false;
  bool secrets_told_ = false;
  Progress progress_;
};

Error interrupted(const config::VmPlan& plan) {
  return {
      .message = fmt::format("interrupted while VM \"{}\" was starting; it is stopped", plan.name),
      .exit_status = 130};
}

/// Without its secrets a VM works, and the guest's requests that need them are told.
void hand_over_secrets(const preflight::Prepared& prepared) {
  const auto problems =
      give_secrets({.name = prepared.plan.name, .paths = prepared.paths}, prepared.plan.secrets);
  if (!problems)
    return print_note("note: no secret reached the PEP: " + printable(problems.error().message));
  for (const std::string& problem : *problems) print_note("note: " + printable(problem));
}

/// Reads the supervisor's report until the VM is up or has failed.
Result<void> follow(const preflight::Prepared& prepared, int fd, sys::Process& supervisor,
                    const LaunchWords& words) {
  const config::VmPlan& plan = prepared.plan;
  const Interrupts interrupts;
  Report report(plan, words);
  std::string received;
  std::array<char, 8192> chunk;
  for (;;) {
    std::array<pollfd, 2> waited{{{fd, POLLIN, 0}, {interrupts.fd(), POLLIN, 0}}};
    const int ready = ::poll(waited.data(), waited.size(), report.redraw_ms());
    if (ready < 0 && errno != EINTR) break;
    if (ready == 0) report.redraw();
    if (ready <= 0) continue;
    if (waited[1].revents != 0) {
      supervisor.stop(kInterruptedStop);
      return fail(interrupted(plan));
    }
    if (waited[0].revents == 0) continue;
    const ssize_t n = ::read(fd, chunk.data(), chunk.size());
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) break;
    received.append(chunk.data(), static_cast<std::size_t>(n));
    for (std::size_t end = received.find('\n'); end != std::string::npos;
         end = received.find('\n')) {
      const std::string line = received.substr(0, end);
      received.erase(0, end + 1);
      const auto up = report.line(line);
      if (!up) supervisor.wait_for(kLastWords);  // it is about to end by itself
      if (!up) return std::unexpected(up.error());
      if (*up) return {};
      if (report.time_for_secrets()) hand_over_secrets(prepared);
    }
  }
  constexpr auto kReap = std::chrono::seconds(5);
  const auto status = supervisor.wait_for(kReap);
  return fail(Error{.message = fmt::format("the supervisor of VM \"{}\" {}", plan.name,
                                           status ? status->text() : "went silent"),
                    .fix = fmt::format("look at: pinhole logs --supervisor {}", plan.name)});
}

}  // namespace

Result<Vm> launch_vm(const config::Paths& paths, const preflight::PrepareOptions& options,
                     const LaunchWords& words) {
  preflight::PrepareOptions complete = options;
  complete.make_authority = preflight::make_authority;
  PINHOLE_TRY(const auto leftover, leftovers::clear_for_start(paths, options.name));
  for (const std::string& line : leftover) print_note("note: " + printable(line));
  // Until the VM has a plan, by which everybody sees that it stands on the image.
  PINHOLE_TRY(const Fd kept, options.image && !options.request.disk
                                 ? leftovers::keep_image(paths, options.image->name)
                                 : Result<Fd>(Fd()));
  PINHOLE_TRY(auto prepared, preflight::prepare_vm(paths, complete));
  for (const std::string& note : prepared.notes) print_note("note: " + printable(note));
  if (!words.quiet && !words.brief)
    print_note(
        fmt::format("{}: {}", prepared.plan.name, printable(prepared.plan.accelerator_reason)));
  PINHOLE_TRY(auto report, sys::make_pipe());
  PINHOLE_TRY(const Fd log, sys::open_append(prepared.paths.supervisor_log));
  std::error_code error;
  const auto self = std::filesystem::read_symlink("/proc/self/exe", error);
  if (error) return fail("cannot find this program's own file: {}", error.message());
  PINHOLE_TRY(auto supervisor,
              sys::spawn({.program = self,
                          .args = {"supervise", prepared.plan.name},
                          .environment = supervisor_environment(),
                          .descriptors = {{1, log.get()},
                                          {2, log.get()},
                                          {supervisor::kReportFd, report.second.get()},
                                          {kLockFd, prepared.lock.get()}},
                          .die_with_parent = words.tied,
                          .new_session = true,
                          .may_gain_privileges = true}));
  report.second.reset();
  prepared.lock.reset();
  const Vm vm{.name = prepared.plan.name, .paths = prepared.paths};
  if (auto up = follow(prepared, report.first.get(), supervisor, words); !up) {
    supervisor.stop(kInterruptedStop);
    tell_guard(vm);  // a guest that did not come up may have written already
    return std::unexpected(std::move(up).error());
  }
  supervisor.release();
  return vm;
}

}  // namespace pinhole::cli
