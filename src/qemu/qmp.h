// SPDX-License-Identifier: Apache-2.0
// The QEMU Machine Protocol (docs/interop/qmp-spec.txt in QEMU's source): one JSON object per line.
#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <boost/json/object.hpp>

#include "base/error.h"
#include "base/fd.h"
#include "sys/asio.h"

namespace pinhole::qemu {

/// A client over one connected socket. QEMU may one day be broken by its guest, so what it says is
/// bounded and checked like everything foreign; a line that breaks the protocol ends the
/// connection. run() must be spawned for anything to happen, and ends when QEMU does; calls that
/// wait get an error then.
class QmpClient {
 public:
  static constexpr std::chrono::seconds kLimit{10};
  using EventHandler = std::function<void(std::string_view name, const boost::json::object& data)>;

  QmpClient(asio::io_context& io, Fd socket, EventHandler on_event);

  /// Reads until QEMU closes or misbehaves.
  asio::awaitable<void> run();

  /// `return` of the command as JSON, or QEMU's error text; the error's code is QEMU's error class
  /// ("DeviceNotFound") or "no_answer".
  asio::awaitable<Result<boost::json::value>> execute(std::string command,
                                                      boost::json::object arguments = {},
                                                      std::chrono::milliseconds limit = kLimit);
  /// The same with a descriptor (borrowed) attached: for `getfd`, which gives it a name.
  asio::awaitable<Result<boost::json::value>> execute_with_fd(
      std::string command, boost::json::object arguments, int fd,
      std::chrono::milliseconds limit = kLimit);

  [[nodiscard]] bool closed() const { return closed_; }

 private:
  struct Pending;
  void handle_line(std::string_view line);
  void answer(std::uint64_t id, Result<boost::json::value> result);
  void close();
  Result<void> send(std::string_view line, int fd);

  asio::posix::stream_descriptor socket_;
  EventHandler on_event_;
  std::string received_;
  std::map<std::uint64_t, std::shared_ptr<Pending>> pending_;
  std::uint64_t next_id_ = 1;
  bool closed_ = false;
};

/// A PCI function as query-pci lists it.
struct PciDevice {
  unsigned device_class = 0;  // PCI base class and subclass: 0x0200 is an Ethernet controller
  std::string id;
};
/// All functions on all buses, bridges walked. Total; a malformed answer is an error.
Result<std::vector<PciDevice>> parse_pci(const boost::json::value& reply);

}  // namespace pinhole::qemu
