// SPDX-License-Identifier: Apache-2.0
#include "agent/workspace_watch.h"

#include <sys/stat.h>

#include <algorithm>
#include <vector>

#include "agent/helper.h"
#include "base/log.h"
#include "base/printable.h"

namespace pinhole::agent {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

constexpr milliseconds kMountLimit{20'000};
constexpr milliseconds kCheckLimit{10'000};
/// The journal is told whole to each new connection: after so many repairs the host hears no more of
/// them.
constexpr std::size_t kLongestJournal = 100;

asio::awaitable<Result<void>> mount_again(std::shared_ptr<const Settings> settings,
                                          std::string nonce) {
  std::vector<std::string> mount = {settings->self, "workspace-mount",
                                    settings->workspace.string()};
  const Result<void> mounted = co_await run_helper(std::move(mount), "", kMountLimit);
  if (!mounted) co_return mounted;
  std::vector<std::string> check = {settings->self, "workspace-check", settings->workspace.string(),
                                    nonce};
  const Result<void> checked = co_await run_helper(std::move(check), "", kCheckLimit);
  co_return checked;
}

}  // namespace

std::string workspace_devices(const std::filesystem::path& root) {
  std::vector<std::string> found;
  std::error_code error;
  for (const auto& entry :
       std::filesystem::directory_iterator(root / "sys/bus/virtio/drivers/virtiofs", error)) {
    const std::string name = entry.path().filename().string();
    struct stat info{};
    // The number of a sysfs entry is not used again; its name is.
    if (name.starts_with("virtio") && ::lstat(entry.path().c_str(), &info) == 0) {
      found.push_back(fmt::format("{}:{} ", name, info.st_ino));
    }
  }
  std::ranges::sort(found);
  std::string text;
  for (const std::string& device : found) text += device;
  return text;
}

asio::awaitable<void> watch_workspace(std::shared_ptr<const Settings> settings, std::string nonce,
                                      std::shared_ptr<Journal> journal) {
  asio::steady_timer timer(co_await asio::this_coro::executor);
  std::string known = workspace_devices(settings->root);
  for (unsigned repairs = 1; journal.use_count() > 1;) {
    timer.expires_after(settings->workspace_poll);
    co_await timer.async_wait(as_result);
    std::string now = workspace_devices(settings->root);
    if (now == known || now.empty()) continue;
    known = std::move(now);
    const auto begun = steady_clock::now();
    const Result<void> mounted = co_await mount_again(settings, nonce);
    const std::string detail =
        mounted ? fmt::format("virtiofs at {}, mounted again ({})", settings->workspace.string(),
                              repairs++)
                : fmt::format("cannot mount {} again: {}", settings->workspace.string(),
                              mounted.error().message);
    log(mounted ? LogLevel::info : LogLevel::error, "{}", detail);
    if (journal->entries().size() >= kLongestJournal) continue;
    const auto took = std::chrono::duration_cast<milliseconds>(steady_clock::now() - begun);
    journal->add(wire::Stage{.name = wire::StageName::workspace,
                             .ok = mounted.has_value(),
                             .detail = printable(detail, wire::kDetailBytes - 4),
                             .ms = static_cast<std::uint64_t>(took.count())});
  }
}

}  // namespace pinhole::agent
