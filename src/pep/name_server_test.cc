// SPDX-License-Identifier: Apache-2.0
#include "pep/name_server.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>
#include <utility>

#include <fmt/format.h>

#include "base/strings.h"

namespace pinhole::pep::testing {
namespace {

constexpr std::uint16_t kTypeA = 1;
constexpr std::uint16_t kTypeCname = 5;
constexpr std::uint16_t kTypeAaaa = 28;
constexpr std::string_view kCname = "cname ";

std::string u16(std::size_t value) {
  return {static_cast<char>(value >> 8), static_cast<char>(value & 0xFF)};
}

/// Labels with their lengths (RFC 1035 §3.1).
std::string wire_name(std::string_view name) {
  std::string out;
  for (const auto label : split(name, '.'))
    out.append(1, static_cast<char>(label.size())).append(label);
  return out + '\0';
}

/// `name` as it stands on the wire.
std::string record(const std::string& name, std::uint16_t type, std::uint32_t seconds,
                   std::string_view data) {
  return name + u16(type) + u16(1) + u16(seconds >> 16) + u16(seconds & 0xFFFF) + u16(data.size()) +
         std::string(data);
}

}  // namespace

NameServer::NameServer(std::map<std::string, Records> table)
    : NameServer(std::map<std::string, Rounds>(), 60) {
  for (auto& [name, records] : table) table_[name] = {std::move(records)};
  thread_ = std::jthread([this] { serve(); });
}

NameServer::NameServer(std::map<std::string, Rounds> rounds, std::uint32_t seconds_to_live)
    : table_(std::move(rounds)),
      seconds_to_live_(seconds_to_live),
      socket_(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0)) {
  sockaddr_in address{
      .sin_family = AF_INET, .sin_port = 0, .sin_addr = {htonl(INADDR_LOOPBACK)}, .sin_zero = {}};
  ::bind(socket_.get(), reinterpret_cast<sockaddr*>(&address), sizeof address);
  socklen_t size = sizeof address;
  ::getsockname(socket_.get(), reinterpret_cast<sockaddr*>(&address), &size);
  port_ = ntohs(address.sin_port);
  if (!table_.empty()) thread_ = std::jthread([this] { serve(); });
}

NameServer::~NameServer() { ::shutdown(socket_.get(), SHUT_RDWR); }

std::string NameServer::where() const { return fmt::format("127.0.0.1:{}", port_); }

void NameServer::serve() {
  char packet[512];
  sockaddr_in from = {};
  socklen_t size = sizeof from;
  while (true) {
    const ssize_t count = ::recvfrom(socket_.get(), packet, sizeof packet, 0,
                                     reinterpret_cast<sockaddr*>(&from), &size);
    if (count <= 12) return;
    ++questions_;
    const std::string reply = answer(std::string(packet, static_cast<std::size_t>(count)));
    if (!reply.empty())
      ::sendto(socket_.get(), reply.data(), reply.size(), 0, reinterpret_cast<sockaddr*>(&from),
               size);
  }
}

std::string NameServer::answer(const std::string& question) {
  std::string name;
  std::size_t at = 12;
  while (question[at] != 0) {
    const auto length = static_cast<std::size_t>(question[at]);
    name += (name.empty() ? "" : ".") + question.substr(at + 1, length);
    at += length + 1;
  }
  if (name == "silent.test") return "";
  const auto type = static_cast<std::uint16_t>(question[at + 2]);
  std::string records;
  int count = 0;
  // That of the question, by a pointer to it (RFC 1035 §4.1.4).
  add_records(name, "\xc0\x0c", type, records, count);
  std::string out = question.substr(0, 2) + '\x81' + (table_.contains(name) ? '\x80' : '\x83');
  out += u16(1) + u16(static_cast<std::size_t>(count)) + u16(0) + u16(0);
  return out + question.substr(12, at + 5 - 12) + records;
}

void NameServer::add_records(const std::string& name, const std::string& spelled,
                             std::uint16_t type, std::string& records, int& count) {
  const auto found = table_.find(name);
  if (found == table_.end()) return;
  const std::size_t round = asked_[{name, type}]++;
  for (const std::string& said : found->second[std::min(round, found->second.size() - 1)]) {
    char bytes[16];
    const std::uint16_t kind = said.starts_with(kCname) ? kTypeCname
                               : said.contains(':')     ? kTypeAaaa
                                                        : kTypeA;
    if (kind == kTypeCname) {
      const std::string target = said.substr(kCname.size());
      records += record(spelled, kTypeCname, seconds_to_live_, wire_name(target));
      ++count;
      add_records(target, wire_name(target), type, records, count);
    } else if (kind == type) {
      ::inet_pton(kind == kTypeA ? AF_INET : AF_INET6, said.c_str(), bytes);
      records += record(spelled, kind, seconds_to_live_, {bytes, kind == kTypeA ? 4U : 16U});
      ++count;
    }
  }
}

}  // namespace pinhole::pep::testing
