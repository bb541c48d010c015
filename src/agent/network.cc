// SPDX-License-Identifier: Apache-2.0
#include "agent/network.h"

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <memory>
#include <optional>

#include "base/fd.h"
#include "base/printable.h"

namespace pinhole::agent {
namespace {

/// Sends one request and reads the kernel's NLMSG_ERROR: 0 or an errno.
int transact(int socket, const void* message, std::size_t size) {
  if (::send(socket, message, size, 0) != static_cast<ssize_t>(size)) return errno;
  alignas(nlmsghdr) std::array<char, 4096> answer;
  const ssize_t n = ::recv(socket, answer.data(), answer.size(), 0);
  if (n < 0) return errno;
  nlmsghdr header{};
  nlmsgerr error{};
  if (static_cast<std::size_t>(n) < sizeof(header) + sizeof(error.error)) return EPROTO;
  std::memcpy(&header, answer.data(), sizeof(header));
  std::memcpy(&error.error, answer.data() + NLMSG_HDRLEN, sizeof(error.error));
  return header.nlmsg_type == NLMSG_ERROR ? -error.error : EPROTO;
}

bool means_no_ipv6(int error) {
  return error == EOPNOTSUPP || error == EAFNOSUPPORT || error == EACCES;
}

int link_up(int socket, unsigned index) {
  struct {
    nlmsghdr header;
    ifinfomsg link;
  } message{};
  message.header.nlmsg_len = sizeof(message);
  message.header.nlmsg_type = RTM_NEWLINK;
  message.header.nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK;
  message.link.ifi_family = AF_UNSPEC;
  message.link.ifi_index = static_cast<int>(index);
  message.link.ifi_flags = IFF_UP;
  message.link.ifi_change = IFF_UP;
  return transact(socket, &message, sizeof(message));
}

int add_address(int socket, unsigned index, int family, const char* text) {
  struct {
    nlmsghdr header;
    ifaddrmsg address;
    std::array<char, 64> attributes;
  } message{};
  std::array<char, 16> bytes{};
  if (::inet_pton(family, text, bytes.data()) != 1) return EINVAL;
  const std::size_t size = family == AF_INET ? 4 : 16;
  std::size_t used = 0;
  for (const unsigned short type : {IFA_LOCAL, IFA_ADDRESS}) {
    const rtattr attribute{.rta_len = static_cast<unsigned short>(RTA_LENGTH(size)),
                           .rta_type = type};
    std::memcpy(message.attributes.data() + used, &attribute, sizeof(attribute));
    std::memcpy(message.attributes.data() + used + RTA_LENGTH(0), bytes.data(), size);
    used += RTA_SPACE(size);
  }
  message.header.nlmsg_len = static_cast<std::uint32_t>(NLMSG_LENGTH(sizeof(ifaddrmsg)) + used);
  message.header.nlmsg_type = RTM_NEWADDR;
  message.header.nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE | NLM_F_REPLACE;
  message.address.ifa_family = static_cast<unsigned char>(family);
  message.address.ifa_prefixlen = static_cast<unsigned char>(size * 8);
  message.address.ifa_scope = RT_SCOPE_UNIVERSE;
  message.address.ifa_index = index;
  message.address.ifa_flags = IFA_F_NODAD;
  return transact(socket, &message, message.header.nlmsg_len);
}

/// "local default dev lo src OWN" in the main table, so that an address of another interface of the
/// guest (a container's bridge) still goes there. Without a source of its own the kernel would take
/// the destination for it, and a connection could meet itself.
int add_local_default(int socket, unsigned index, int family, const char* source) {
  struct {
    nlmsghdr header;
    rtmsg route;
    std::array<char, 64> attributes;
  } message{};
  std::size_t used = 0;
  const auto attribute = [&](unsigned short type, const void* bytes, std::size_t size) {
    const rtattr head{.rta_len = static_cast<unsigned short>(RTA_LENGTH(size)), .rta_type = type};
    std::memcpy(message.attributes.data() + used, &head, sizeof(head));
    std::memcpy(message.attributes.data() + used + RTA_LENGTH(0), bytes, size);
    used += RTA_SPACE(size);
  };
  std::array<char, 16> bytes{};
  if (::inet_pton(family, source, bytes.data()) != 1) return EINVAL;
  attribute(RTA_OIF, &index, sizeof(index));
  attribute(RTA_PREFSRC, bytes.data(), family == AF_INET ? 4 : 16);
  message.header.nlmsg_len = static_cast<std::uint32_t>(NLMSG_LENGTH(sizeof(rtmsg)) + used);
  message.header.nlmsg_type = RTM_NEWROUTE;
  message.header.nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL;
  message.route.rtm_family = static_cast<unsigned char>(family);
  message.route.rtm_table = RT_TABLE_MAIN;
  message.route.rtm_protocol = RTPROT_STATIC;
  message.route.rtm_scope = RT_SCOPE_HOST;
  message.route.rtm_type = RTN_LOCAL;
  return transact(socket, &message, message.header.nlmsg_len);
}

std::optional<Address6> bytes_of(const sockaddr* address) {
  Address6 bytes{};
  if (address->sa_family == AF_INET6) {
    std::memcpy(bytes.data(), &reinterpret_cast<const sockaddr_in6*>(address)->sin6_addr, 16);
    return bytes;
  }
  if (address->sa_family != AF_INET) return std::nullopt;
  bytes[10] = bytes[11] = 0xFF;
  std::memcpy(bytes.data() + 12, &reinterpret_cast<const sockaddr_in*>(address)->sin_addr, 4);
  return bytes;
}

std::string address_text(const sockaddr* address) {
  std::array<char, INET6_ADDRSTRLEN> text{};
  const void* bytes = nullptr;
  if (address->sa_family == AF_INET) {
    bytes = &reinterpret_cast<const sockaddr_in*>(address)->sin_addr;
  } else if (address->sa_family == AF_INET6) {
    bytes = &reinterpret_cast<const sockaddr_in6*>(address)->sin6_addr;
  } else {
    return {};
  }
  ::inet_ntop(address->sa_family, bytes, text.data(), text.size());
  return text.data();
}

}  // namespace

Result<void> set_up_loopback() {
  const Fd socket(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE));
  if (!socket) return fail("no netlink socket: {}", errno_text(errno));
  const unsigned index = ::if_nametoindex("lo");
  if (index == 0) return fail("there is no interface lo");
  if (const int error = link_up(socket.get(), index); error != 0) {
    return fail("cannot bring lo up: {}", errno_text(error));
  }
  const int v4 = add_address(socket.get(), index, AF_INET, kLoopbackAddress4);
  if (v4 != 0 && v4 != EEXIST) {
    return fail("cannot add {} to lo: {}", kLoopbackAddress4, errno_text(v4));
  }
  // Without IPv6 in the kernel there is nothing to add to, and nothing that would miss it.
  const int v6 = add_address(socket.get(), index, AF_INET6, kLoopbackAddress6);
  if (v6 != 0 && v6 != EEXIST && !means_no_ipv6(v6)) {
    return fail("cannot add {} to lo: {}", kLoopbackAddress6, errno_text(v6));
  }
  return {};
}

Result<void> make_every_address_local() {
  const Fd socket(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE));
  if (!socket) return fail("no netlink socket: {}", errno_text(errno));
  const unsigned index = ::if_nametoindex("lo");
  const int v4 = add_local_default(socket.get(), index, AF_INET, kLoopbackAddress4);
  if (v4 != 0 && v4 != EEXIST) return fail("cannot add a route to lo: {}", errno_text(v4));
  const int v6 = add_local_default(socket.get(), index, AF_INET6, kLoopbackAddress6);
  if (v6 != 0 && v6 != EEXIST && !means_no_ipv6(v6)) {
    return fail("cannot add an IPv6 route to lo: {}", errno_text(v6));
  }
  return {};
}

std::vector<Address6> own_addresses() {
  std::vector<Address6> found;
  ifaddrs* first = nullptr;
  if (::getifaddrs(&first) != 0) return found;
  const std::unique_ptr<ifaddrs, decltype(&::freeifaddrs)> owner(first, &::freeifaddrs);
  for (const ifaddrs* entry = first; entry != nullptr; entry = entry->ifa_next) {
    if (entry->ifa_addr == nullptr) continue;
    if (const auto address = bytes_of(entry->ifa_addr)) found.push_back(*address);
  }
  return found;
}

Result<Fd> watch_addresses() {
  Fd socket(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_ROUTE));
  sockaddr_nl address{};
  address.nl_family = AF_NETLINK;
  address.nl_groups = RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR;
  if (!socket ||
      ::bind(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0) {
    return fail("cannot watch the addresses: {}", errno_text(errno));
  }
  return socket;
}

InterfaceList list_interfaces() {
  InterfaceList list;
  std::vector<std::string> lines;  // one per name
  ifaddrs* first = nullptr;
  if (::getifaddrs(&first) != 0) return list;
  const std::unique_ptr<ifaddrs, decltype(&::freeifaddrs)> owner(first, &::freeifaddrs);
  for (const ifaddrs* entry = first; entry != nullptr; entry = entry->ifa_next) {
    const auto known = std::ranges::find(list.names, entry->ifa_name);
    const auto index = static_cast<std::size_t>(known - list.names.begin());
    if (known == list.names.end()) {
      list.names.emplace_back(entry->ifa_name);
      lines.push_back(printable(entry->ifa_name));
    }
    if (entry->ifa_addr == nullptr) continue;
    const std::string address = address_text(entry->ifa_addr);
    if (!address.empty()) lines[index] += " " + address;
  }
  for (const std::string& line : lines) {
    if (!list.text.empty()) list.text += "; ";
    list.text += line;
  }
  return list;
}

}  // namespace pinhole::agent
