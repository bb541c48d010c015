// SPDX-License-Identifier: Apache-2.0
#include "agent/probes.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <span>

#include <boost/asio/generic/datagram_protocol.hpp>

#include "agent/fetch.h"
#include "agent/network.h"
#include "base/fd.h"
#include "base/printable.h"
#include "base/strings.h"
#include "sys/files.h"

namespace pinhole::agent {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

constexpr std::size_t kFirstBytes = 64;  // of an answer that should not exist
constexpr std::size_t kHeadBytes = 1024;
constexpr milliseconds kAnswerLimit{5000};
constexpr milliseconds kVsockTotal{60'000};  // 8 CIDs × 64 ports that all time out
constexpr milliseconds kFetchLimit{60'000};
constexpr std::uint64_t kFileBytes = 64 * 1024;

using SettingsPtr = std::shared_ptr<const Settings>;

/// A literal address and port as the kernel wants it.
struct Literal {
  sockaddr_storage storage{};
  socklen_t size = 0;
  int family = 0;
};

std::optional<Literal> parse_literal(const std::string& address, std::uint16_t port) {
  Literal literal;
  auto* v4 = reinterpret_cast<sockaddr_in*>(&literal.storage);
  if (::inet_pton(AF_INET, address.c_str(), &v4->sin_addr) == 1) {
    v4->sin_family = AF_INET;
    v4->sin_port = htons(port);
    literal.size = sizeof(sockaddr_in);
    literal.family = AF_INET;
    return literal;
  }
  auto* v6 = reinterpret_cast<sockaddr_in6*>(&literal.storage);
  if (::inet_pton(AF_INET6, address.c_str(), &v6->sin6_addr) == 1) {
    v6->sin6_family = AF_INET6;
    v6->sin6_port = htons(port);
    literal.size = sizeof(sockaddr_in6);
    literal.family = AF_INET6;
    return literal;
  }
  return std::nullopt;
}

std::string bytes_text(std::string_view bytes) {
  const auto* data = reinterpret_cast<const std::uint8_t*>(bytes.data());
  return fmt::format("{} ({})", hex({data, bytes.size()}), printable(bytes));
}

std::string refusal_text(int error) {
  switch (error) {
    case ECONNREFUSED:
      return "refused";
    case ECONNRESET:
      return "reset";
    case ENETUNREACH:
    case EHOSTUNREACH:
      return fmt::format("unreachable ({})", errno_text(error));
    default:
      return errno_text(error);
  }
}

asio::awaitable<int> async_connect(std::shared_ptr<Stream> stream,
                                   asio::generic::stream_protocol::endpoint address) {
  const auto [error] = co_await stream->async_connect(address, as_result);
  co_return error.value();
}

/// What a request for nothing gets from whoever accepted the connection: where connections are
/// captured, that is the agent itself, and behind it the door with a refusal.
asio::awaitable<std::string> ask_for_nothing(std::shared_ptr<Stream> stream, std::string host) {
  const std::string request =
      fmt::format("GET /pinhole-probe HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", host);
  co_await asio::async_write(*stream, asio::buffer(request), as_result);
  std::array<char, kHeadBytes> piece;
  const auto [error, n] = co_await stream->async_read_some(asio::buffer(piece), as_result);
  co_return std::string(piece.data(), error ? 0 : n);
}

/// Nothing, or the door's own refusal; not a byte from outside.
void judge_connected(const std::optional<std::string>& answer, wire::ProbeResult& result) {
  if (!answer) {
    result.evidence = "connected, and silence";
  } else if (answer->empty()) {
    result.ok = true;
    result.evidence = "connected, and closed without a byte";
  } else if (answer->starts_with("HTTP/1.1 4") && answer->contains("\r\nProxy-Status: pinhole;")) {
    result.ok = true;
    result.evidence = "refused by the door: " + answer->substr(0, answer->find('\r'));
  } else {
    result.evidence = "connected; first bytes: " + bytes_text(answer->substr(0, kFirstBytes));
  }
}

asio::awaitable<wire::ProbeResult> probe(SettingsPtr, wire::ConnectProbe target) {
  wire::ProbeResult result;
  const auto literal = parse_literal(target.address, target.port);
  if (!literal) {
    result.evidence = "not an address literal";
    co_return result;
  }
  const auto stream = std::make_shared<Stream>(co_await asio::this_coro::executor);
  Fd fd(::socket(literal->family, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!fd) {
    result.ok = true;
    result.evidence = "no such sockets: " + errno_text(errno);
    co_return result;
  }
  stream->assign({literal->family, IPPROTO_TCP}, fd.release());
  const asio::generic::stream_protocol::endpoint address(&literal->storage, literal->size);
  const auto outcome =
      co_await with_deadline(async_connect(stream, address), milliseconds(target.timeout_ms));
  result.ok = !outcome || *outcome != 0;
  if (!outcome) {
    result.evidence = fmt::format("timeout after {} ms", target.timeout_ms);
  } else if (*outcome != 0) {
    result.evidence = refusal_text(*outcome);
  } else {
    std::string host = literal->family == AF_INET6 ? "[" + target.address + "]" : target.address;
    if (target.port != 80) host += fmt::format(":{}", target.port);
    const auto answer = co_await with_deadline(ask_for_nothing(stream, host), kAnswerLimit);
    judge_connected(answer, result);
  }
  co_return result;
}

using Datagram = asio::generic::datagram_protocol::socket;

asio::awaitable<std::string> receive_datagram(std::shared_ptr<Datagram> socket) {
  std::array<char, kFirstBytes> piece;
  const auto [error, n] = co_await socket->async_receive(asio::buffer(piece), as_result);
  if (error) co_return refusal_text(error.value());
  co_return "answered: " + bytes_text(std::string_view(piece.data(), n));
}

asio::awaitable<wire::ProbeResult> probe(SettingsPtr, wire::UdpProbe target) {
  // A DNS question for the root's name servers: who listens on port 53 answers it, others may.
  constexpr std::string_view kQuestion("\x70\x68\x01\0\0\x01\0\0\0\0\0\0\0\0\x02\0\x01", 17);
  wire::ProbeResult result;
  const auto literal = parse_literal(target.address, target.port);
  if (!literal) {
    result.evidence = "not an address literal";
    co_return result;
  }
  const auto socket = std::make_shared<Datagram>(co_await asio::this_coro::executor);
  Fd fd(::socket(literal->family, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  const auto* address = reinterpret_cast<const sockaddr*>(&literal->storage);
  if (!fd || ::connect(fd.get(), address, literal->size) != 0 ||
      ::send(fd.get(), kQuestion.data(), kQuestion.size(), MSG_NOSIGNAL) < 0) {
    result.ok = true;
    result.evidence = refusal_text(errno);
    co_return result;
  }
  socket->assign({literal->family, IPPROTO_UDP}, fd.release());
  const auto answer =
      co_await with_deadline(receive_datagram(socket), milliseconds(target.timeout_ms));
  result.ok = !answer || !answer->starts_with("answered");
  result.evidence = answer.value_or(fmt::format("sent; no answer in {} ms", target.timeout_ms));
  co_return result;
}

bool expected_open(std::uint32_t cid, std::uint32_t port) {
  return cid == kHostCid && (port == wire::kDoorPort || port == wire::kHelloPort);
}

asio::awaitable<wire::ProbeResult> probe(SettingsPtr, wire::VsockProbe targets) {
  wire::ProbeResult result{.ok = true};
  std::string open;
  std::string shut;
  const auto until = steady_clock::now() + kVsockTotal;
  for (const std::uint32_t cid : targets.cids) {
    for (const std::uint32_t port : targets.ports) {
      if (steady_clock::now() >= until) {
        result.ok = false;
        result.evidence = "gave up: too slow; ";
        break;
      }
      const auto stream =
          co_await connect_stream(VsockAddress{cid, port}, milliseconds(targets.timeout_ms));
      (stream ? open : shut) += fmt::format(" {}:{}", cid, port);
      if (stream && !expected_open(cid, port)) result.ok = false;
    }
  }
  result.evidence +=
      fmt::format("open:{}; shut:{}", open.empty() ? " none" : open, shut.empty() ? " none" : shut);
  if (result.evidence.size() > wire::kEvidenceBytes) result.evidence.resize(wire::kEvidenceBytes);
  co_return result;
}

asio::awaitable<wire::ProbeResult> probe(SettingsPtr settings, wire::FetchProbe target) {
  FetchRequest request{
      .door = settings->door, .method = target.task.method, .url = target.task.url};
  request.idle_limit = kFetchLimit;
  const auto outcome = co_await fetch(std::move(request), {});
  wire::ProbeResult result{.ok = outcome.has_value()};
  if (!outcome) {
    result.evidence = printable(outcome.error().message, wire::kEvidenceBytes - 4);
    co_return result;
  }
  result.evidence = outcome->summary();
  if (!outcome->detail.empty()) {
    result.evidence += " detail=" + printable(outcome->detail, wire::kDetailBytes);
  }
  constexpr std::size_t kShownCode = 64;
  result.fetch = wire::FetchOutcome{.status = outcome->status,
                                    .bytes = outcome->bytes,
                                    .sha256 = outcome->sha256,
                                    .code = printable(outcome->code, kShownCode),
                                    .rule = printable(outcome->rule, kShownCode)};
  co_return result;
}

asio::awaitable<wire::ProbeResult> probe(SettingsPtr, wire::InterfacesProbe) {
  const InterfaceList list = list_interfaces();
  wire::ProbeResult result{.ok = list.names == std::vector<std::string>{"lo"}};
  result.evidence = list.text.substr(0, wire::kEvidenceBytes);
  co_return result;
}

asio::awaitable<wire::ProbeResult> probe(SettingsPtr settings, wire::MarkerProbe) {
  const auto content = sys::read_file(
      settings->run_dir / wire::marker_text(wire::MarkerName::boot_ok), wire::kMarkerBytes);
  wire::ProbeResult result{.ok = content.has_value()};
  result.evidence = content ? *content : content.error().message;
  co_return result;
}

std::string first_line(const std::string& path) {
  const auto text = sys::read_file(path, kFileBytes);
  return text ? printable(trim(text->substr(0, text->find('\n'))), 256) : "unknown";
}

/// Routes besides the header line; a table of its own for each family.
std::size_t count_lines(const std::string& path) {
  const auto text = sys::read_file(path, kFileBytes);
  return text ? split(trim(*text), '\n').size() : 0;
}

asio::awaitable<wire::ProbeResult> probe(SettingsPtr settings, wire::EnvProbe) {
  utsname system{};
  ::uname(&system);
  const std::size_t routes = count_lines("/proc/net/route");
  wire::ProbeResult result{.ok = true};
  result.evidence = fmt::format(
      "kernel={} machine={} uid={} first_process={} routes={} door={} proxy_port={}",
      printable(system.release), printable(system.machine), ::getuid(), first_line("/proc/1/comm"),
      routes > 0 ? routes - 1 : 0, endpoint_text(settings->door), settings->proxy_port);
  co_return result;
}

}  // namespace

asio::awaitable<wire::ProbeReply> run_probes(SettingsPtr settings,
                                             std::vector<wire::Probe> probes) {
  wire::ProbeReply reply;
  for (const wire::Probe& item : probes) {
    const auto begun = steady_clock::now();
    auto running = std::visit([&](const auto& kind) { return probe(settings, kind); }, item);
    wire::ProbeResult result = co_await std::move(running);
    result.name = wire::probe_name(item);
    const auto took = std::chrono::duration_cast<milliseconds>(steady_clock::now() - begun);
    result.ms = static_cast<std::uint64_t>(took.count());
    reply.results.push_back(std::move(result));
  }
  co_return reply;
}

}  // namespace pinhole::agent
