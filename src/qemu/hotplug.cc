// SPDX-License-Identifier: Apache-2.0
#include "qemu/hotplug.h"

#include <algorithm>

#include "base/json.h"

namespace pinhole::qemu {
namespace {

namespace json = boost::json;
using std::chrono::steady_clock;

/// An unplug that the guest did not take up (it was busy booting, say) may be asked for again.
constexpr std::chrono::seconds kAskAgain{5};
/// The chardev is free once QEMU has finished the device, a moment after it said so.
constexpr std::chrono::milliseconds kChardevPause{50};
constexpr int kChardevTries = 40;

Result<void> nothing(Result<json::value> reply) {
  if (!reply) return fail(std::move(reply).error());
  return {};
}

}  // namespace

void Hotplug::on_event(std::string_view name, const json::object& data) {
  if (name != "DEVICE_DELETED" || awaited_.empty() || text_of(data, "device") != awaited_) return;
  deleted_ = true;
  changed_.notify();
}

asio::awaitable<Result<void>> Hotplug::unplug(VhostDevice device, std::chrono::milliseconds limit) {
  const auto deadline = steady_clock::now() + limit;
  awaited_ = device.id;
  deleted_ = false;
  while (!deleted_) {
    if (steady_clock::now() >= deadline) {
      awaited_.clear();
      co_return fail("the guest did not let go of {} within {} s", device.id,
                     std::chrono::duration_cast<std::chrono::seconds>(limit).count());
    }
    json::object arguments{{"id", device.id}};
    const auto asked = co_await qmp_.execute("device_del", std::move(arguments));
    // "Already in the process of unplug" is an error too; the event tells.
    if (!asked && asked.error().code == "DeviceNotFound") break;
    if (qmp_.closed()) co_return nothing(asked);
    const auto until = std::min(deadline, steady_clock::now() + kAskAgain);
    bool in_time = true;
    while (!deleted_ && in_time) in_time = co_await changed_.wait_until(until);
  }
  awaited_.clear();
  auto removed = co_await remove_chardev(device.chardev);
  co_return removed;
}

asio::awaitable<Result<void>> Hotplug::remove_chardev(std::string id) {
  Result<void> removed;
  for (int tries = 0; tries < kChardevTries; ++tries) {
    json::object arguments{{"id", id}};
    auto reply = co_await qmp_.execute("chardev-remove", std::move(arguments));
    removed = nothing(std::move(reply));
    if (removed || qmp_.closed()) break;
    timer_.expires_after(kChardevPause);
    co_await timer_.async_wait(as_result);
  }
  co_return removed;
}

asio::awaitable<Result<void>> Hotplug::plug(VhostDevice device, Fd socket) {
  const std::string name = "fd-" + device.chardev;
  json::object named{{"fdname", name}};
  const auto given = co_await qmp_.execute_with_fd("getfd", std::move(named), socket.get());
  if (!given) co_return nothing(given);
  // QEMU has a copy of its own. While ours were open the back-end would not see QEMU end.
  socket.reset();
  json::object chardev{
      {"id", device.chardev},
      {"backend",
       {{"type", "socket"},
        {"data", {{"addr", {{"type", "fd"}, {"data", {{"str", name}}}}}, {"server", false}}}}}};
  const auto added = co_await qmp_.execute("chardev-add", std::move(chardev));
  if (!added) co_return nothing(added);
  json::object arguments = std::move(device.properties);
  arguments["driver"] = device.driver;
  arguments["id"] = device.id;
  arguments["chardev"] = device.chardev;
  arguments["bus"] = device.bus;
  const auto plugged = co_await qmp_.execute("device_add", std::move(arguments));
  if (!plugged) {
    // So that the next try finds the name free.
    co_await remove_chardev(device.chardev);
    co_return nothing(plugged);
  }
  co_return Result<void>();
}

}  // namespace pinhole::qemu
