// SPDX-License-Identifier: Apache-2.0
// Taking a vhost-user device out of a running machine and putting it back with a new back-end.
//
// A vhost-user device whose back-end died stays silently dead, and QEMU 7.2 cannot give it another
// one. What works is what a person would do with a card: unplug it, which the guest's kernel has to
// agree to, and plug a new one in.
#pragma once

#include <chrono>
#include <string>
#include <string_view>

#include <boost/json/object.hpp>

#include "base/error.h"
#include "base/fd.h"
#include "qemu/qmp.h"
#include "sys/asio.h"
#include "sys/event.h"

namespace pinhole::qemu {

/// A device on a root port of its own, and the socket of its back-end.
struct VhostDevice {
  std::string driver;                   // "vhost-user-vsock-pci"
  std::string id;                       // "vsock0"
  std::string chardev;                  // "chr-vsock0"
  std::string bus;                      // "port-vsock"
  boost::json::object properties = {};  // what else device_add needs: {"tag":"workspace"}
};

class Hotplug {
 public:
  /// Borrows `qmp`, whose events must come to on_event().
  Hotplug(asio::io_context& io, QmpClient& qmp) : qmp_(qmp), changed_(io), timer_(io) {}

  void on_event(std::string_view name, const boost::json::object& data);

  /// Asks the guest to let go of the device, again and again until `limit`, and removes it with its
  /// chardev. A guest that does not answer (stopped, crashed, hostile) is an error: nothing can take
  /// the device from it.
  asio::awaitable<Result<void>> unplug(VhostDevice device, std::chrono::milliseconds limit);
  /// `socket` is connected to the new back-end, which must be there: QEMU waits for its answers.
  asio::awaitable<Result<void>> plug(VhostDevice device, Fd socket);

 private:
  asio::awaitable<Result<void>> remove_chardev(std::string id);

  QmpClient& qmp_;
  sys::Event changed_;
  asio::steady_timer timer_;
  std::string awaited_;  // the device that is being unplugged
  bool deleted_ = false;
};

}  // namespace pinhole::qemu
