// SPDX-License-Identifier: Apache-2.0
// libcurl's multi interface on Asio: one thread, socket and timer callbacks, connections kept and
// reused.
#pragma once

#include <chrono>
#include <memory>
#include <vector>

#include "pep/fd_watch.h"
#include "sys/asio.h"

namespace pinhole::pep {

class Transfer;

/// One per process; outlives every Transfer.
class CurlDriver {
 public:
  explicit CurlDriver(asio::io_context& context);
  ~CurlDriver();
  CurlDriver(const CurlDriver&) = delete;
  CurlDriver& operator=(const CurlDriver&) = delete;

 private:
  friend class Transfer;
  static constexpr long kIdleConnections = 128;  // kept open upstream at most

  /// `easy` is a CURL* whose CURLOPT_PRIVATE is its Transfer. Not from inside one of libcurl's
  /// callbacks.
  void add(void* easy);
  void remove(void* easy);
  /// CURLOPT_CLOSESOCKETFUNCTION of every connection.
  static int close_socket(void* self, int fd);

  static int on_socket(void* easy, int fd, int what, void* self, void* unused);
  static int on_timer(void* multi, long milliseconds, void* self);
  void act(int fd, int events);
  void act_on_timeout();
  void finish_done();

  asio::io_context& context_;
  void* multi_;
  asio::steady_timer timer_;
  bool kick_posted_ = false;
  std::vector<std::shared_ptr<FdWatch>> watches_;  // by descriptor
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

}  // namespace pinhole::pep
