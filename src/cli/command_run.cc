// SPDX-License-Identifier: Apache-2.0
// pinhole run: a fresh VM for one command.
#include <poll.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>

#include "audit/query.h"
#include "base/printable.h"
#include "base/strings.h"
#include "cli/app.h"
#include "cli/denials.h"
#include "cli/ephemeral_vm.h"
#include "cli/images.h"
#include "cli/interrupts.h"
#include "cli/launch_vm.h"
#include "cli/policy_words.h"
#include "cli/review.h"
#include "cli/session_policy.h"
#include "cli/terminal.h"
#include "cli/vm_words.h"
#include "sys/process.h"
#include "sys/user.h"

namespace pinhole::cli {
namespace {

namespace fs = std::filesystem;
using std::chrono::milliseconds;
using std::chrono::steady_clock;

constexpr int kFailed = 125;
constexpr int kTimedOut = 124;  // as timeout(1)
constexpr std::chrono::seconds kGrace{10};
constexpr std::chrono::seconds kTwice{2};
/// One Ctrl-C may come twice: to the process group, and passed on.
constexpr milliseconds kSameMoment{100};

struct RunWords {
  VmWords vm;
  SessionWords session;
  std::vector<std::string> command, env;
  std::uint64_t timeout_ms = 0;  // 0: none
  bool keep = false, no_terminal = false, review = false;
};

/// Every failure of ours has the status that no command uses.
Error ours(Error error) {
  if (error.exit_status != 130 && error.exit_status != kUsageStatus) error.exit_status = kFailed;
  return error;
}

/// The review that the run's changes go to: ours alone until the VM has ended.
struct RunReview {
  std::string name = {};
  Fd held = {};
  bool ran = false;
};

Result<fs::path> begin(RunReview& run, const config::Paths& paths, const fs::path& folder,
                       const std::string& name, const std::vector<std::string>& command,
                       bool strict) {
  PINHOLE_TRY(const auto review, begin_review(paths, folder, name, command, strict));
  run.name = name;
  PINHOLE_TRY(auto held, review::try_hold(review));
  if (held) run.held = *std::move(held);
  return review.dir;
}

Result<preflight::PrepareOptions> options_for(const RunWords& words, const config::Paths& paths,
                                              RunReview& review) {
  VmWords vm = words.vm;
  vm.chosen_by_folder = true;
  PINHOLE_TRY(const std::string flags, session_policy(words.session));
  PINHOLE_TRY(auto options, vm_options(vm, flags, paths));
  options.name = "run-" + sys::random_hex(3);
  options.markers = false;
  options.ephemeral = !words.keep;
  if (words.review) {
    const bool strict = options.request.guard == config::GuardLevel::strict;
    options.make_review = [&, strict](const fs::path& folder, const std::string& name) {
      return begin(review, paths, folder, name, words.command, strict);
    };
  }
  return options;
}

/// The command itself is a process of its own: it gives up what it does not need before it reads what
/// the guest says, and this one stays to clean up.
Result<sys::Process> start_command(const RunWords& words, const Vm& vm, bool workspace) {
  std::error_code error;
  const fs::path self = fs::read_symlink("/proc/self/exe", error);
  std::vector<std::string> args = {
      "exec", vm.name, "--uid", std::to_string(::getuid()), "--gid", std::to_string(::getgid())};
  if (workspace) args.insert(args.end(), {"--cwd", "/workspace"});
  for (const std::string& entry : words.env) args.insert(args.end(), {"--env", entry});
  if (words.no_terminal) args.emplace_back("--no-terminal");
  args.emplace_back("--");
  args.insert(args.end(), words.command.begin(), words.command.end());
  return sys::spawn({.program = self,
                     .args = std::move(args),
                     .environment = sys::whole_environment(),
                     .descriptors = {{0, 0}, {1, 1}, {2, 2}}});
}

/// Waits for the command's end and passes on what is sent to this process alone: a terminal's Ctrl-C
/// reaches both.
class Watch {
 public:
  Watch(sys::Process& command, const Interrupts& interrupts, milliseconds limit)
      : command_(command), interrupts_(interrupts) {
    if (limit.count() > 0) deadline_ = steady_clock::now() + limit;
  }

  int status() {
    for (;;) {
      std::array<pollfd, 2> waited{{{command_.pidfd(), POLLIN, 0}, {interrupts_.fd(), POLLIN, 0}}};
      const int ready = ::poll(waited.data(), waited.size(), time_left());
      if (waited[0].revents != 0 && ready > 0) break;
      if (waited[1].revents != 0 && ready > 0) take_signal();
      if (deadline_ && steady_clock::now() >= *deadline_) time_is_up();
    }
    const auto ended = command_.wait_for(kGrace);
    if (overdue_) return asked_to_end_ ? 128 + *asked_to_end_ : kTimedOut;
    if (!ended) return kFailed;
    return ended->signaled ? 128 + ended->value : ended->value;
  }

 private:
  [[nodiscard]] int time_left() const {
    if (!deadline_) return -1;
    const auto left = std::chrono::ceil<milliseconds>(*deadline_ - steady_clock::now()).count();
    return static_cast<int>(std::clamp<std::int64_t>(left, 0, 60'000));
  }

  /// First it is asked to end, then it is made to.
  void time_is_up() {
    command_.signal(overdue_ || asked_to_end_ ? SIGKILL : SIGTERM);
    overdue_ = true;
    deadline_ = steady_clock::now() + kGrace;
  }

  void take_signal() {
    signalfd_siginfo info{};
    if (::read(interrupts_.fd(), &info, sizeof(info)) != sizeof(info)) return;
    const int number = static_cast<int>(info.ssi_signo);
    const bool from_terminal = info.ssi_code == SI_KERNEL;
    const auto now = steady_clock::now();
    if (number == SIGINT && interrupted_ && now - *interrupted_ < kSameMoment) return;
    if (!from_terminal) command_.signal(number);
    if (number == SIGINT) {
      if (interrupted_ && now - *interrupted_ < kTwice) command_.signal(SIGKILL);
      interrupted_ = now;
    } else if (!asked_to_end_) {
      asked_to_end_ = number;
      deadline_ = now + kGrace;
    }
  }

  sys::Process& command_;
  const Interrupts& interrupts_;
  std::optional<steady_clock::time_point> deadline_, interrupted_;
  std::optional<int> asked_to_end_;  // by this signal
  bool overdue_ = false;
};

void tell_denials(const Vm& vm) {
  const auto groups = audit::denials_of_last_boot(vm.paths.audit_log);
  if (!groups) return;
  for (const std::string& line : denial_lines(without_self_tests(*groups), 10, Suggest::flag))
    print_note(line);
}

/// Trouble with cleaning up does not change how the command ended.
void end_vm(const config::Paths& paths, const Vm& vm) {
  const auto ended = end_ephemeral_vm(paths, vm, [&] { tell_denials(vm); });
  if (!ended) print_error(ended.error());
}

Result<Vm> launch(const RunWords& words, const config::Paths& paths,
                  const preflight::PrepareOptions& options) {
  auto vm = launch_vm(paths, options, {.brief = true, .tied = !words.keep});
  if (vm || words.keep) return vm;
  constexpr int kInterrupted = 130;
  const Vm failed{.name = options.name, .paths = config::vm_paths(paths, options.name)};
  std::error_code error;
  if (vm.error().exit_status == kInterrupted) {
    end_vm(paths, failed);
  } else if (fs::exists(failed.paths.plan, error)) {
    vm.error().details.push_back(fmt::format(
        "what it left can be looked at until the next run: pinhole logs {}", options.name));
  }
  return vm;
}

Result<int> run_in_vm(const RunWords& words, const config::Paths& paths, RunReview& review) {
  sweep_ephemeral_vms(paths);
  PINHOLE_TRY(const auto options, options_for(words, paths, review));
  const Interrupts interrupts;
  PINHOLE_TRY(const Vm vm, launch(words, paths, options));
  review.ran = true;
  const auto owner = own_ephemeral_vm(vm);
  auto command = start_command(words, vm, options.request.workspace.has_value());
  const int status =
      command ? Watch(*command, interrupts, milliseconds(words.timeout_ms)).status() : kFailed;
  if (words.keep) {
    tell_denials(vm);
    print_note(fmt::format("kept: pinhole shell {0}; when done: pinhole rm --force {0}", vm.name));
    return status;
  }
  end_vm(paths, vm);
  if (!command) return std::unexpected(std::move(command).error());
  return status;
}

Result<int> run_command(const RunWords& words) {
  const auto paths = config::user_paths();
  if (!paths) return fail(ours(paths.error()));
  RunReview review;
  auto status = run_in_vm(words, *paths, review);
  review.held.reset();
  // From here on a Ctrl-C ends us: what the question is about is kept then.
  if (!review.name.empty() && review.ran) finish_review(*paths, review.name);
  if (!review.name.empty() && !review.ran) forget_review(*paths, review.name);
  if (!status) return fail(ours(std::move(status).error()));
  return status;
}

}  // namespace

void add_run(Commands& commands) {
  CLI::App& command = commands.add(
      "run",
      "Run a command in a fresh VM that sees this folder and reaches what you allow, nothing else",
      "  pinhole run -- npm test\n"
      "  pinhole run --use npm -- npm install\n"
      "  pinhole run --allow api.example.com --secret TOKEN@api.example.com -- ./agent\n"
      "  pinhole run --review -- ./untrusted-codemod\n"
      "  pinhole run -- bash");
  auto words = std::make_shared<RunWords>();
  add_vm_words(command, words->vm);
  repeatable(
      command.add_option("--use", words->session.use, "a preset of rules: npm, pypi, debian, …"));
  repeatable(command.add_option(
      "--allow", words->session.allow,
      "a host, or a rule as in a policy: \"GET https://api.example.com/v1/**\""));
  repeatable(
      command.add_option("--secret", words->session.secret,
                         "NAME@host: your variable NAME goes to that host, and never into the VM"));
  repeatable(command.add_option("--env", words->env, "NAME=value; may be given again"));
  const std::map<std::string, std::uint64_t> units = {
      {"ms", 1}, {"s", 1000}, {"m", 60'000}, {"h", 3'600'000}};
  command.add_option("--timeout", words->timeout_ms, "end it after this time, as in 90s or 10m")
      ->transform(CLI::AsNumberWithUnit(units, CLI::AsNumberWithUnit::UNIT_REQUIRED, "TIME"));
  auto* keep = command.add_flag("--keep", words->keep, "leave the VM running afterwards");
  command
      .add_flag(
          "--review", words->review,
          "change nothing in the workspace: show what the command changed, to apply or drop it")
      ->excludes(keep);
  command.add_flag("-T,--no-terminal", words->no_terminal, "no terminal in the VM");
  command.add_option("CMD", words->command, "the command, after --")->required();
  commands.on(command, [words] { return run_command(*words); });
}

}  // namespace pinhole::cli
