// SPDX-License-Identifier: Apache-2.0
// pinhole-vsockd as an object: the sockets, the device and the loop that drives them.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/fd.h"
#include "sys/event_loop.h"
#include "vhost/control.h"
#include "vhost/device.h"
#include "vhost/frontend.h"
#include "vhost/host_sockets.h"
#include "vhost/options.h"

namespace pinhole::vhost {

/// Serves one QEMU at a time until its loop stops. Removes the sockets it made when destroyed, unless
/// it was sealed: then they stay, and whoever listens there next replaces them.
class Backend {
 public:
  static Result<std::unique_ptr<Backend>> start(const Options& options);
  Backend(const Backend&) = delete;
  Backend& operator=(const Backend&) = delete;
  ~Backend();

  /// Gives up every right of this process that serving does not need.
  Result<void> seal();

  [[nodiscard]] sys::EventLoop& loop() { return *loop_; }
  [[nodiscard]] const vsock::Muxer& muxer() const { return muxer_; }
  [[nodiscard]] const Device& device() const { return device_; }

 private:
  Backend(std::unique_ptr<sys::EventLoop> loop, const Options& options);
  Result<void> open_base(const Options& options);
  Result<void> open_socket(const Options& options);
  Result<void> open_control(const Options& options);
  Result<Fd> listen_at(const std::filesystem::path& path);
  void accept_frontend();
  void serve(Fd socket);
  bool turn();

  std::unique_ptr<sys::EventLoop> loop_;
  std::uint64_t cid_;
  bool once_;
  std::vector<std::filesystem::path> made_;
  HostSockets host_;
  vsock::Muxer muxer_;
  Device device_;
  Fd listener_;
  sys::Watch listener_watch_;
  std::unique_ptr<Frontend> frontend_;
  bool frontend_ended_ = false;
  std::unique_ptr<ControlChannel> control_;
};

}  // namespace pinhole::vhost
