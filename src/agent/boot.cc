// SPDX-License-Identifier: Apache-2.0
#include "agent/boot.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>

#include "agent/cloud_init.h"
#include "agent/helper.h"
#include "agent/machine.h"
#include "agent/shares.h"
#include "agent/trust.h"
#include "agent/workspace.h"
#include "agent/workspace_watch.h"
#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/printable.h"
#include "sys/files.h"
#include "sys/user.h"

namespace pinhole::agent {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

constexpr milliseconds kHelperLimit{10'000};
constexpr milliseconds kFirstRetry{100};
constexpr milliseconds kLongestRetry{2000};
constexpr milliseconds kFetchIdle{30'000};

struct Boot {
  std::shared_ptr<const Settings> settings;
  wire::Welcome welcome;
  std::shared_ptr<Journal> journal;
  std::string instance_id = {};
  bool good = true;  // every stage so far
};
using Shared = std::shared_ptr<Boot>;
using StageOutcome = Result<std::string>;  // detail when ok; the cause when not

void report(Boot& boot, wire::StageName name, steady_clock::time_point begun,
            const StageOutcome& outcome) {
  const auto took = std::chrono::duration_cast<milliseconds>(steady_clock::now() - begun);
  const std::string detail = outcome ? *outcome : outcome.error().message;
  log(LogLevel::info, "stage {}: {}{}{} ({} ms)", wire::stage_text(name), outcome ? "ok" : "failed",
      detail.empty() ? "" : ", ", detail, took.count());
  boot.good = boot.good && outcome.has_value();
  boot.journal->add(wire::Stage{.name = name,
                                .ok = outcome.has_value(),
                                .detail = printable(detail, wire::kDetailBytes - 4),
                                .ms = static_cast<std::uint64_t>(took.count())});
}

asio::awaitable<void> pause(milliseconds time) {
  asio::steady_timer timer(co_await asio::this_coro::executor, time);
  co_await timer.async_wait(as_result);
}

// cloud-init

StageOutcome judge_cloud_init(const CloudInit& found, const std::string& wanted_id) {
  if (found.state == CloudInit::State::error) return fail("cloud-init: {}", found.detail);
  if (found.state == CloudInit::State::disabled && !wanted_id.empty()) {
    return fail("cloud-init did not run: {}", found.detail);
  }
  if (found.state == CloudInit::State::done && !wanted_id.empty() &&
      found.instance_id != wanted_id) {
    return fail("cloud-init has instance id \"{}\", but the seed says \"{}\"", found.instance_id,
                wanted_id);
  }
  if (found.state != CloudInit::State::done) return std::string(cloud_init_text(found.state));
  return found.detail;
}

/// What cloud-init did is on the disk before we say that it is done: a machine that is switched off
/// a moment later must not find half-written scripts, and run them again, in its next boot (seen).
/// The root file system only: the workspace's may hang.
void make_durable(const std::filesystem::path& root) {
  const Fd folder(::open(root.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!folder || ::syncfs(folder.get()) != 0)
    log(LogLevel::warning, "cannot sync {}", root.string());
}

asio::awaitable<StageOutcome> await_cloud_init(Shared boot) {
  const auto until = steady_clock::now() + boot->settings->cloud_init_limit;
  CloudInit found = read_cloud_init(boot->settings->root);
  while (found.state == CloudInit::State::running) {
    if (steady_clock::now() >= until) {
      co_return fail("cloud-init was not done within {} s",
                     boot->settings->cloud_init_limit.count() / 1000);
    }
    co_await pause(boot->settings->poll);
    found = read_cloud_init(boot->settings->root);
  }
  if (found.state == CloudInit::State::done || found.state == CloudInit::State::error) {
    const std::string troubles = co_await cloud_init_troubles(boot->settings->root);
    found.detail += troubles;
  }
  make_durable(boot->settings->root);
  boot->instance_id = found.instance_id;
  co_return judge_cloud_init(found, boot->welcome.instance_id);
}

// workspace

/// Reading /proc/self/mounts asks nothing of the file systems in it.
Result<void> mounted(const Settings& settings) {
  constexpr std::uint64_t kMountsBytes = 1 << 20;
  PINHOLE_TRY(const std::string mounts,
              sys::read_file(settings.root / "proc/self/mounts", kMountsBytes));
  return find_workspace_mount(mounts, settings.workspace);
}

asio::awaitable<Result<void>> await_workspace(Shared boot) {
  const Settings& settings = *boot->settings;
  const auto until = steady_clock::now() + settings.workspace_limit;
  Result<void> found = mounted(settings);
  while (!found && steady_clock::now() < until) {
    co_await pause(settings.poll);
    found = mounted(settings);
  }
  if (!found) {
    co_return fail("{} after {} s", found.error().message, settings.workspace_limit.count() / 1000);
  }
  co_return Result<void>();
}

asio::awaitable<StageOutcome> try_share(Shared boot, wire::Mount share) {
  const Settings& settings = *boot->settings;
  std::vector<std::string> argv = {settings.self};
  if (share.path == settings.workspace.string() && !share.read_only) {
    argv.insert(argv.end(), {"workspace-check", share.path, boot->welcome.nonce});
  } else {
    argv.insert(argv.end(), {"workspace-look", share.path});
  }
  const Result<void> checked = co_await run_helper(std::move(argv), "", kHelperLimit);
  if (!checked) {
    co_return fail("the file server behind {} fails: {}", share.path, checked.error().message);
  }
  co_return share.path + (share.read_only ? " (read-only)" : "");
}

/// In their order. The workspace of a machine with systemd is its unit's to mount.
asio::awaitable<StageOutcome> set_up_shares(Shared boot) {
  std::string detail;
  for (const wire::Mount& share : shares_of(boot->welcome, *boot->settings)) {
    const bool is_workspace = share.path == boot->settings->workspace.string();
    const bool by_unit = is_workspace && !boot->settings->first_process;
    if (!by_unit) {
      const Result<void> mounted = mount_share(share);
      if (!mounted) co_return fail(mounted.error());
    }
    if (is_workspace) {
      const Result<void> there = co_await await_workspace(boot);
      if (!there) co_return fail(there.error());
    }
    if (by_unit && share.read_only) {
      const Result<void> restricted = make_read_only(share.path);
      if (!restricted) co_return fail(restricted.error());
    }
    const StageOutcome tried = co_await try_share(boot, share);
    if (!tried) co_return tried;
    detail += (detail.empty() ? "virtiofs at " : ", ") + *tried;
  }
  co_return detail;
}

// markers

bool is_read_only(const Boot& boot) {
  return std::ranges::any_of(boot.welcome.mounts, [&](const wire::Mount& mount) {
    return mount.read_only && mount.path == boot.settings->workspace.string();
  });
}

asio::awaitable<void> publish(Shared boot, wire::MarkerName name, std::string content) {
  const Settings& settings = *boot->settings;
  const std::string file(wire::marker_text(name));
  if (auto placed = place_file(settings.run_dir, file, content); !placed) {
    log(LogLevel::warning, "{}", placed.error().message);
  }
  if (boot->welcome.workspace && boot->welcome.markers && !is_read_only(*boot)) {
    std::vector<std::string> argv = {settings.self, "workspace-place", settings.workspace.string(),
                                     file};
    const Result<void> placed = co_await run_helper(std::move(argv), content, kHelperLimit);
    if (!placed) log(LogLevel::warning, "{} in the workspace: {}", file, placed.error().message);
  }
  // Last: who hears of a marker finds it in place.
  boot->journal->add(wire::Marker{.name = name, .content = std::move(content)});
}

std::string boot_ok(const Boot& boot) {
  return fmt::format("time={}\ninstance_id={}\nboot_id={}\nnonce={}\nagent={}\n", now_text(),
                     boot.instance_id, boot_id(), boot.welcome.nonce, PINHOLE_VERSION);
}

// door

/// Until there is an answer: "connected" is not enough, and the host's side may come up after us.
asio::awaitable<Result<FetchResult>> fetch_canary(Shared boot, wire::FetchTask task) {
  const auto until = steady_clock::now() + boot->settings->door_limit;
  milliseconds wait = kFirstRetry;
  for (;;) {
    FetchRequest request{.door = boot->settings->door, .method = task.method, .url = task.url};
    request.idle_limit = kFetchIdle;
    auto outcome = co_await fetch(std::move(request), {});
    const bool again =
        !outcome && (outcome.error().code == "unreachable" || outcome.error().code == "truncated");
    if (!again || steady_clock::now() + wait >= until) co_return outcome;
    co_await pause(wait);
    wait = std::min(wait * 2, kLongestRetry);
  }
}

asio::awaitable<StageOutcome> try_door(Shared boot) {
  std::string lines;
  std::string trouble;
  for (const wire::FetchTask& task : boot->welcome.fetches) {
    const auto outcome = co_await fetch_canary(boot, task);
    if (!outcome && trouble.empty()) {
      trouble = fmt::format("{} {}: {}", task.method, task.url, outcome.error().message);
    }
    lines += fetch_line(task, outcome);
  }
  if (lines.size() > wire::kMarkerBytes) lines.resize(wire::kMarkerBytes);
  co_await publish(boot, wire::MarkerName::vsock_fetch, std::move(lines));
  if (!trouble.empty()) co_return fail("{}", trouble);
  co_return fmt::format("{} answers", boot->welcome.fetches.size());
}

/// Makes the guest's programs trust what the welcome names; what failed, for the agent's stage.
std::string trust_text(const Boot& boot) {
  std::string text;
  if (boot.welcome.authority.empty() && !boot.welcome.capture) return text;
  if (const auto led = lead_git_to_https(boot.settings->root); !led)
    text += "; " + led.error().message;
  if (boot.welcome.authority.empty()) return text;
  for (const std::string& problem :
       install_authority(boot.settings->root, boot.welcome.authority)) {
    log(LogLevel::warning, "trust: {}", problem);
    text += "; trust: " + problem;
  }
  return text;
}

}  // namespace

std::string fetch_line(const wire::FetchTask& task, const Result<FetchResult>& outcome) {
  constexpr std::size_t kCause = 100;
  const std::string method = task.method == "GET" ? "" : " method=" + task.method;
  if (outcome) return fmt::format("{} url={}{}\n", outcome->summary(), task.url, method);
  return fmt::format("status=0 code={} url={}{} cause={}\n",
                     outcome.error().code.empty() ? "failed" : outcome.error().code, task.url,
                     method, printable(outcome.error().message, kCause));
}

std::string boot_id() { return sys::host_boot_id().value_or("unknown"); }

milliseconds uptime() {
  timespec now{};
  ::clock_gettime(CLOCK_BOOTTIME, &now);
  return std::chrono::seconds(now.tv_sec) +
         std::chrono::duration_cast<milliseconds>(std::chrono::nanoseconds(now.tv_nsec));
}

asio::awaitable<void> run_stages(std::shared_ptr<const Settings> settings, wire::Welcome welcome,
                                 Result<void> network, std::shared_ptr<Journal> journal,
                                 std::shared_ptr<CaptureService> capture) {
  const auto boot = std::make_shared<Boot>(Boot{.settings = std::move(settings),
                                                .welcome = std::move(welcome),
                                                .journal = std::move(journal)});
  auto begun = steady_clock::now();
  StageOutcome agent = "pinhole-agent " PINHOLE_VERSION;
  if (!network) agent = fail(std::move(network).error());
  if (boot->settings->first_process && boot->welcome.machine) {
    auto made = set_up_machine(*boot->welcome.machine, boot->settings->root);
    if (!made && agent) agent = fail(std::move(made).error());
  }
  // Before the first program runs: nothing waits up to here.
  if (agent) *agent += trust_text(*boot);
  const auto executor = co_await asio::this_coro::executor;
  const std::string problem = capture->begin(executor, boot->welcome.capture);
  if (!problem.empty() && agent) *agent += "; capture: " + problem;
  report(*boot, wire::StageName::agent, begun, agent);

  if (!boot->settings->first_process) {
    const StageOutcome cloud_init = co_await await_cloud_init(boot);
    report(*boot, wire::StageName::cloud_init, begun, cloud_init);
  }

  const std::vector<wire::Mount> shares = shares_of(boot->welcome, *boot->settings);
  if (!shares.empty()) {
    begun = steady_clock::now();
    const StageOutcome workspace = co_await set_up_shares(boot);
    report(*boot, wire::StageName::workspace, begun, workspace);
    asio::co_spawn(executor,
                   watch_shares(boot->settings, shares, boot->welcome.nonce, boot->journal),
                   asio::detached);
  }
  // A marker with that name after a bad boot would be a lie; the failed stage says why there is
  // none.
  if (boot->good) co_await publish(boot, wire::MarkerName::boot_ok, boot_ok(*boot));

  begun = steady_clock::now();
  const StageOutcome door = co_await try_door(boot);
  report(*boot, wire::StageName::door, begun, door);
}

}  // namespace pinhole::agent
