// SPDX-License-Identifier: Apache-2.0
#include "agent/workspace_watch.h"

#include <sys/stat.h>

#include <algorithm>
#include <utility>
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

using Shared = std::shared_ptr<const Settings>;

asio::awaitable<Result<void>> look(Shared settings, std::string folder) {
  std::vector<std::string> argv = {settings->self, "workspace-look", std::move(folder)};
  const Result<void> seen = co_await run_helper(std::move(argv), "", kCheckLimit);
  co_return seen;
}

asio::awaitable<Result<void>> mount_again(Shared settings, wire::Mount share, std::string nonce) {
  std::vector<std::string> mount = {settings->self, "workspace-mount", share.path, share.tag,
                                    share.read_only ? "ro" : "rw"};
  const Result<void> mounted = co_await run_helper(std::move(mount), "", kMountLimit);
  if (!mounted) co_return mounted;
  Result<void> checked;
  if (share.path != settings->workspace.string() || share.read_only) {
    checked = co_await look(settings, share.path);
  } else {
    std::vector<std::string> check = {settings->self, "workspace-check", share.path, nonce};
    checked = co_await run_helper(std::move(check), "", kCheckLimit);
  }
  co_return checked;
}

/// One device was replaced, and nothing says whose: that share answers no more. True where this one
/// was mounted again, or should have been.
asio::awaitable<bool> repair(Shared settings, wire::Mount share, std::string nonce, bool is_its_own,
                             unsigned repairs, std::shared_ptr<Journal> journal) {
  if (!is_its_own) {
    const Result<void> seen = co_await look(settings, share.path);
    if (seen) co_return false;
  }
  const auto begun = steady_clock::now();
  const Result<void> mounted = co_await mount_again(settings, share, std::move(nonce));
  const std::string detail =
      mounted ? fmt::format("virtiofs at {}, mounted again ({})", share.path, repairs)
              : fmt::format("cannot mount {} again: {}", share.path, mounted.error().message);
  log(mounted ? LogLevel::info : LogLevel::error, "{}", detail);
  if (journal->entries().size() >= kLongestJournal) co_return true;
  const auto took = std::chrono::duration_cast<milliseconds>(steady_clock::now() - begun);
  journal->add(wire::Stage{.name = wire::StageName::workspace,
                           .ok = mounted.has_value(),
                           .detail = printable(detail, wire::kDetailBytes - 4),
                           .ms = static_cast<std::uint64_t>(took.count())});
  co_return true;
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

asio::awaitable<void> watch_shares(std::shared_ptr<const Settings> settings,
                                   std::vector<wire::Mount> shares, std::string nonce,
                                   std::shared_ptr<Journal> journal) {
  asio::steady_timer timer(co_await asio::this_coro::executor);
  std::string known = workspace_devices(settings->root);
  for (unsigned repairs = 1; journal.use_count() > 1;) {
    timer.expires_after(settings->workspace_poll);
    co_await timer.async_wait(as_result);
    std::string now = workspace_devices(settings->root);
    // One is missing: the new one comes.
    if (now == known || std::cmp_less(std::ranges::count(now, ' '), shares.size())) continue;
    known = std::move(now);
    for (std::size_t i = 0; i < shares.size(); ++i) {
      const bool repaired =
          co_await repair(settings, shares[i], nonce, shares.size() == 1, repairs, journal);
      if (repaired) ++repairs;
    }
  }
}

}  // namespace pinhole::agent
