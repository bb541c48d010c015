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
constexpr std::size_t kTableBytes = std::size_t{1} << 20;
/// A kernel without the modules tcp_diag and inet_diag starts modprobe for every question; so many
/// in a row without an answer are enough.
constexpr int kUnanswered = 3;
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

/// "010012C6:0050": each 32 bits of the address as a number of this machine, in hexadecimal.
std::string table_text(const Address6& address, std::uint16_t port, bool v4) {
  std::string text;
  for (std::size_t at = v4 ? 12 : 0; at < address.size(); at += 4) {
    std::uint32_t word = 0;
    std::memcpy(&word, address.data() + at, sizeof(word));
    text += fmt::format("{:08X}", word);
  }
  return text + fmt::format(":{:04X}", port);
}

}  // namespace

std::optional<ClientSocket> find_in_table(std::string_view table, const ConnectionEnds& ends) {
  const bool v4 = is_v4(ends.client) && is_v4(ends.destination);
  // " 0: local remote st queues timer retransmits uid timeout inode …"; a socket of IPv6 may speak
  // IPv4 and then is listed with mapped addresses.
  for (const bool mapped : {false, true}) {
    if (mapped && !v4) break;
    const std::string wanted =
        fmt::format(" {} {} ", table_text(ends.client, ends.client_port, v4 && !mapped),
                    table_text(ends.destination, ends.destination_port, v4 && !mapped));
    const std::size_t at = table.find(wanted);
    if (at == std::string_view::npos) continue;
    std::string_view rest = table.substr(at + wanted.size());
    rest = rest.substr(0, rest.find('\n'));
    std::vector<std::string_view> fields;
    for (const std::string_view field : split(rest, ' '))
      if (!field.empty()) fields.push_back(field);
    constexpr std::size_t kUid = 4;
    constexpr std::size_t kInode = 6;
    if (fields.size() <= kInode) return std::nullopt;
    const auto uid = parse_u64(fields[kUid]);
    const auto inode = parse_u64(fields[kInode]);
    if (!uid || !inode || *uid > UINT32_MAX || *inode > UINT32_MAX) return std::nullopt;
    return ClientSocket{.uid = static_cast<std::uint32_t>(*uid),
                        .inode = static_cast<std::uint32_t>(*inode)};
  }
  return std::nullopt;
}

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

std::optional<ClientSocket> ClientFinder::ask_kernel(const ConnectionEnds& ends) {
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
  return ClientSocket{.uid = found.idiag_uid, .inode = found.idiag_inode};
}

std::optional<int> ClientFinder::find_process(const ClientSocket& socket) {
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

std::optional<ClientSocket> ClientFinder::find_socket(const ConnectionEnds& ends) {
  if (unanswered_ < kUnanswered) {
    if (const auto found = ask_kernel(ends)) {
      unanswered_ = 0;
      return found;
    }
    ++unanswered_;
  }
  for (const char* table : {"/proc/net/tcp", "/proc/net/tcp6"}) {
    const auto text = sys::read_file(table, kTableBytes);
    if (!text) continue;
    if (const auto found = find_in_table(*text, ends)) return found;
  }
  return std::nullopt;
}

ClientHint ClientFinder::find(const ConnectionEnds& ends) {
  const auto socket = find_socket(ends);
  if (!socket) return {};
  ClientHint hint{.uid = socket->uid};
  if (socket->inode != 0) hint.pid = find_process(*socket);
  if (hint.pid) hint.program = program_of(*hint.pid);
  return hint;
}

}  // namespace pinhole::agent
