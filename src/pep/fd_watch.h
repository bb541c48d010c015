// SPDX-License-Identifier: Apache-2.0
// Waits for readiness of a socket that somebody else (libcurl, c-ares) opened and will close.
#pragma once

#include <functional>
#include <memory>

#include "sys/asio.h"

namespace pinhole::pep {

enum class Ready { read, write, error };

/// Registered once with the reactor for the life of the socket; want() only arms and disarms,
/// because libcurl changes its mind several times per request. stop() must come before the owner
/// closes the socket.
class FdWatch : public std::enable_shared_from_this<FdWatch> {
 public:
  using Callback = std::function<void(int fd, Ready ready)>;
  FdWatch(asio::io_context& context, int fd, Callback callback);
  ~FdWatch();
  FdWatch(const FdWatch&) = delete;
  FdWatch& operator=(const FdWatch&) = delete;

  /// What to report from now on, each time it is so.
  void want(bool read, bool write);
  /// Nothing is reported after this.
  void stop();

 private:
  struct Direction {
    bool wanted = false;
    bool armed = false;  // a wait is pending in the reactor; it stays when nobody wants it any more
  };
  void arm(Direction& direction, asio::posix::stream_descriptor::wait_type type, Ready ready);
  void on_ready(Direction& direction, asio::posix::stream_descriptor::wait_type type, Ready ready,
                const error_code& error);

  asio::posix::stream_descriptor descriptor_;
  int fd_;
  Callback callback_;
  bool stopped_ = false;
  Direction read_;
  Direction write_;
};

}  // namespace pinhole::pep
