// SPDX-License-Identifier: Apache-2.0
// Who in the guest made a connection: what the agent tells the door for the audit. It is the
// guest's claim and no more.
#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <string_view>

#include "agent/names.h"
#include "base/fd.h"

namespace pinhole::agent {

/// A TCP connection as its client sees it; IPv4 addresses as ::ffff:a.b.c.d.
struct ConnectionEnds {
  Address6 client{};
  std::uint16_t client_port = 0;
  Address6 destination{};
  std::uint16_t destination_port = 0;
};

/// What could be found out.
struct ClientHint {
  std::optional<std::uint32_t> uid = {};
  std::optional<int> pid = {};
  std::string program = {};  // the process's comm
};

/// `program="curl"; uid=1000; pid=123`, without what is not known; bytes of the program's name that
/// could mislead are '_'.
std::string hint_text(const ClientHint& hint);

struct ClientSocket {
  std::uint32_t uid = 0;
  std::uint32_t inode = 0;
  bool operator==(const ClientSocket&) const = default;
};
/// The client's end in the text of /proc/net/tcp or tcp6.
std::optional<ClientSocket> find_in_table(std::string_view table, const ConnectionEnds& ends);

class ClientFinder {
 public:
  /// In bounded time, each call and all together: a guest with very many processes, open files or
  /// connections gets hints without a pid.
  ClientHint find(const ConnectionEnds& ends);

 private:
  std::optional<ClientSocket> find_socket(const ConnectionEnds& ends);
  std::optional<ClientSocket> ask_kernel(const ConnectionEnds& ends);
  std::optional<int> find_process(const ClientSocket& socket);
  [[nodiscard]] std::optional<int> search(std::uint32_t uid, const std::string& target,
                                          std::chrono::steady_clock::time_point until) const;

  Fd netlink_;
  int unanswered_ = 0;      // by sock_diag, since it last answered
  std::deque<int> recent_;  // processes that were found, the newest first
  std::chrono::steady_clock::time_point next_search_{};
};

}  // namespace pinhole::agent
