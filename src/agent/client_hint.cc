// SPDX-License-Identifier: Apache-2.0
#include "agent/client_hint.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstring>
#include <functional>
#include <memory>
#include <vector>

#include <fmt/format.h>

#include "base/strings.h"
#include "sys/files.h"

namespace pinhole::agent {
namespace {

using std::chrono::steady_clock;

/// For looking through /proc, of one connection: long enough for a hundred processes under software
/// emulation, too short to be felt.
constexpr std::chrono::milliseconds kSearch{5};
/// After a search, so many times as long as it took nothing but the processes found before: the
/// agent has other things to do.
constexpr int kRest = 3;
constexpr std::size_t kProcesses = 4096;
constexpr std::size_t kRecent = 8;
constexpr std::size_t kCommBytes = 64;

bool is_v4(const Address6& address) {
  constexpr Address6 kMapped{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF};
  return std::equal(address.begin(), address.begin() + 12, kMapped.begin());
}

void put_address(const Address6& address, __be32 (&target)[4]) {
  const std::size_t skipped = is_v4(address) ? 12 : 0;
  std::memcpy(target, address.data() + skipped, address.size() - skipped);
}

/// Calls `visit` with the names in a folder while it returns true.
void for_each_name(const std::string& folder, const std::function<bool(const char*)>& visit) {
  const std::unique_ptr<DIR, int (*)(DIR*)> open(::opendir(folder.c_str()), &::closedir);
  if (!open) return;
  while (const dirent* entry = ::readdir(open.get()))
    if (!visit(entry->d_name)) return;
}

bool holds(int pid, const std::string& target, steady_clock::time_point until) {
  const std::string folder = fmt::format("/proc/{}/fd", pid);
  bool found = false;
  for_each_name(folder, [&](const char* name) {
    std::array<char, 64> link;
    const std::string path = fmt::format("{}/{}", folder, name);
    const ssize_t n = ::readlink(path.c_str(), link.data(), link.size());
    found = n > 0 && std::string_view(link.data(), static_cast<std::size_t>(n)) == target;
    return !found && steady_clock::now() < until;
  });
  return found;
}

bool belongs_to(int pid, std::uint32_t uid) {
  struct stat info{};
  return ::stat(fmt::format("/proc/{}", pid).c_str(), &info) == 0 && info.st_uid == uid;
}

/// The newest first: who connects has mostly just been started.
std::vector<int> processes() {
  std::vector<int> found;
  for_each_name("/proc", [&](const char* name) {
    if (const auto pid = parse_u64(name); pid && *pid <= 0x7FFFFFFF)
      found.push_back(static_cast<int>(*pid));
    return found.size() < kProcesses;
  });
  std::ranges::sort(found, std::greater<>());
  return found;
}

std::string program_of(int pid) {
  // sys/files.h refuses what is no regular file; /proc's are.
  auto comm = sys::read_file(fmt::format("/proc/{}/comm", pid), kCommBytes);
  return comm ? std::string(trim(*comm)) : std::string();
}

bool is_harmless(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
         std::string_view(" ._+-:/@").contains(c);
}

}  // namespace

std::string hint_text(const ClientHint& hint) {
  std::string text;
  const auto add = [&](std::string_view part) {
    if (!text.empty()) text += "; ";
    text += part;
  };
  if (!hint.program.empty()) {
    std::string name = hint.program.substr(0, kCommBytes);
    std::ranges::replace_if(name, [](char c) { return !is_harmless(c); }, '_');
    add(fmt::format("program=\"{}\"", name));
  }
  if (hint.uid) add(fmt::format("uid={}", *hint.uid));
  if (hint.pid) add(fmt::format("pid={}", *hint.pid));
  return text;
}

std::optional<ClientFinder::Socket> ClientFinder::ask_kernel(const ConnectionEnds& ends) {
  if (!netlink_) netlink_ = Fd(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG));
  if (!netlink_) return std::nullopt;
  struct {
    nlmsghdr header;
    inet_diag_req_v2 request;
  } message{};
  message.header.nlmsg_len = sizeof(message);
  message.header.nlmsg_type = SOCK_DIAG_BY_FAMILY;
  message.header.nlmsg_flags = NLM_F_REQUEST;
  const bool v4 = is_v4(ends.client) && is_v4(ends.destination);
  message.request.sdiag_family = v4 ? AF_INET : AF_INET6;
  message.request.sdiag_protocol = IPPROTO_TCP;
  message.request.idiag_states = ~0U;
  message.request.id.idiag_sport = htons(ends.client_port);
  message.request.id.idiag_dport = htons(ends.destination_port);
  put_address(ends.client, message.request.id.idiag_src);
  put_address(ends.destination, message.request.id.idiag_dst);
  message.request.id.idiag_cookie[0] = message.request.id.idiag_cookie[1] = INET_DIAG_NOCOOKIE;
  if (::send(netlink_.get(), &message, sizeof(message), MSG_DONTWAIT) !=
      static_cast<ssize_t>(sizeof(message)))
    return std::nullopt;
  // The kernel has answered when send() returns.
  alignas(nlmsghdr) std::array<char, 4096> answer;
  const ssize_t n = ::recv(netlink_.get(), answer.data(), answer.size(), MSG_DONTWAIT);
  nlmsghdr header{};
  inet_diag_msg found{};
  if (n < static_cast<ssize_t>(NLMSG_HDRLEN + sizeof(found))) return std::nullopt;
  std::memcpy(&header, answer.data(), sizeof(header));
  std::memcpy(&found, answer.data() + NLMSG_HDRLEN, sizeof(found));
  if (header.nlmsg_type != SOCK_DIAG_BY_FAMILY) return std::nullopt;
  return Socket{.uid = found.idiag_uid, .inode = found.idiag_inode};
}

std::optional<int> ClientFinder::find_process(const Socket& socket) {
  const std::string target = fmt::format("socket:[{}]", socket.inode);
  const auto begun = steady_clock::now();
  const auto until = begun + kSearch;
  for (const int pid : recent_)
    if (belongs_to(pid, socket.uid) && holds(pid, target, until)) return pid;
  if (begun < next_search_) return std::nullopt;
  const auto found = search(socket.uid, target, until);
  const auto now = steady_clock::now();
  next_search_ = now + kRest * (now - begun);
  if (!found) return std::nullopt;
  recent_.push_front(*found);
  if (recent_.size() > kRecent) recent_.pop_back();
  return found;
}

/// Among the processes that were not found before.
std::optional<int> ClientFinder::search(std::uint32_t uid, const std::string& target,
                                        steady_clock::time_point until) const {
  for (const int pid : processes()) {
    if (steady_clock::now() >= until) break;
    if (std::ranges::find(recent_, pid) != recent_.end() || !belongs_to(pid, uid)) continue;
    if (holds(pid, target, until)) return pid;
  }
  return std::nullopt;
}

ClientHint ClientFinder::find(const ConnectionEnds& ends) {
  const auto socket = ask_kernel(ends);
  if (!socket) return {};
  ClientHint hint{.uid = socket->uid};
  if (socket->inode != 0) hint.pid = find_process(*socket);
  if (hint.pid) hint.program = program_of(*hint.pid);
  return hint;
}

}  // namespace pinhole::agent
