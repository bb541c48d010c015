// SPDX-License-Identifier: Apache-2.0
#include "agent/capture.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <utility>

#include "agent/dns_server.h"
#include "agent/names_setup.h"
#include "agent/network.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/printable.h"

namespace pinhole::agent {
namespace {

constexpr std::uint16_t kDnsPort = 53;
constexpr int kBacklog = 512;

/// On `address` (empty: on all of the family); port 0 takes a free one.
Result<Fd> listen_tcp(int family, const char* address, std::uint16_t port) {
  Fd listener(::socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!listener) return fail("no sockets: {}", errno_text(errno));
  const int on = 1;
  ::setsockopt(listener.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
  sockaddr_in6 v6{};
  sockaddr_in v4{};
  int bound = -1;
  if (family == AF_INET6) {
    ::setsockopt(listener.get(), IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on));
    v6.sin6_family = AF_INET6;
    v6.sin6_port = htons(port);
    if (*address != '\0') ::inet_pton(AF_INET6, address, &v6.sin6_addr);
    bound = ::bind(listener.get(), reinterpret_cast<const sockaddr*>(&v6), sizeof(v6));
  } else {
    v4.sin_family = AF_INET;
    v4.sin_port = htons(port);
    if (*address != '\0') ::inet_pton(AF_INET, address, &v4.sin_addr);
    bound = ::bind(listener.get(), reinterpret_cast<const sockaddr*>(&v4), sizeof(v4));
  }
  if (bound != 0 || ::listen(listener.get(), kBacklog) != 0) {
    return fail("cannot listen on {} port {}: {}", family == AF_INET6 ? "IPv6" : "IPv4", port,
                errno_text(errno));
  }
  return listener;
}

Result<std::shared_ptr<Acceptor>> acceptor_of(const asio::any_io_executor& executor, Fd listener,
                                              int family) {
  const auto acceptor = std::make_shared<Acceptor>(executor);
  error_code error;
  acceptor->assign({family, IPPROTO_TCP}, listener.release(), error);
  if (error) return fail("cannot listen: {}", error.message());
  return acceptor;
}

/// Two for each connection, the proxy's among them; the usual limit is 1024.
void allow_descriptors() {
  constexpr rlim_t kWanted = 8192;
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= kWanted) return;
  limit.rlim_cur = kWanted;
  limit.rlim_max = std::max(limit.rlim_max, kWanted);
  // Refused to who is not root: then fewer connections have to do.
  ::setrlimit(RLIMIT_NOFILE, &limit);
}

std::string host_name() {
  std::array<char, 256> name{};
  return ::gethostname(name.data(), name.size() - 1) == 0 ? name.data() : "";
}

}  // namespace

Capture::Capture(const asio::any_io_executor& executor, std::shared_ptr<const Settings> settings)
    : executor_(executor),
      settings_(std::move(settings)),
      state_(std::make_shared<CaptureState>(CaptureState{
          .settings = settings_, .names = std::make_shared<Names>(settings_->run_dir / "names")})),
      places_(std::make_shared<Places>(executor, kCapturedConnections)) {}

std::shared_ptr<Capture> Capture::start(const asio::any_io_executor& executor,
                                        std::shared_ptr<const Settings> settings,
                                        const std::vector<std::uint16_t>& ports) {
  allow_descriptors();
  const std::shared_ptr<Capture> capture(new Capture(executor, std::move(settings)));
  if (capture->settings_->network_setup) capture->complain(make_every_address_local());
  capture->set_names_up();
  capture->listen();
  capture->set_ports(ports);
  return capture;
}

void Capture::complain(const Result<void>& outcome) {
  if (outcome) return;
  log(LogLevel::warning, "capture: {}", outcome.error().message);
  if (problem_.empty()) problem_ = outcome.error().message;
}

void Capture::set_names_up() {
  const auto port = start_dns_server(executor_, kLoopbackAddress4, kDnsPort, state_->names);
  if (!port) return complain(fail(port.error()));
  // Only now: a name server that does not answer is worse than the one that was there.
  complain(lead_names_to_agent(settings_->root, host_name()));
}

void Capture::listen() {
  auto v4 = listen_tcp(AF_INET, kLoopbackAddress4, 0);
  if (!v4) return complain(fail(v4.error()));
  auto v6 = listen_tcp(AF_INET6, kLoopbackAddress6, 0);  // fails where there is no IPv6
  auto lookup = SkLookup::attach(v4->get(), v6 ? v6->get() : -1);
  if (lookup) {
    lookup_ = *std::move(lookup);
    auto acceptor4 = acceptor_of(executor_, *std::move(v4), AF_INET);
    if (acceptor4) accept_from(*acceptor4);
    if (v6) {
      auto acceptor6 = acceptor_of(executor_, *std::move(v6), AF_INET6);
      if (acceptor6) accept_from(*acceptor6);
    }
  } else {
    log(LogLevel::warning, "capture: {}; a listener for each port takes its place",
        lookup.error().message);
  }
  note_addresses();
  auto watch = watch_addresses();
  if (!watch) return complain(fail(watch.error()));
  asio::co_spawn(executor_, follow_addresses(shared_from_this(), *std::move(watch)),
                 asio::detached);
}

void Capture::accept_from(const std::shared_ptr<Acceptor>& acceptor) {
  asio::co_spawn(executor_,
                 accept_each(acceptor, places_,
                             [state = state_](Stream client) {
                               return carry_connection(std::move(client), state);
                             }),
                 asio::detached);
}

void Capture::note_addresses() {
  state_->own = own_addresses();
  if (lookup_) complain(lookup_->set_own_addresses(state_->own));
}

asio::awaitable<void> Capture::follow_addresses(std::shared_ptr<Capture> self, Fd watch) {
  asio::posix::stream_descriptor changes(self->executor_, watch.release());
  std::array<char, 8192> ignored;
  for (;;) {
    const auto [error, n] = co_await changes.async_read_some(asio::buffer(ignored), as_result);
    // ENOBUFS: messages were lost, and what matters is only that there were some.
    if (error && error != asio::error::no_buffer_space) co_return;
    self->note_addresses();
  }
}

void Capture::listen_on(std::uint16_t port) {
  auto& acceptors = listeners_[port];
  for (const int family : {AF_INET, AF_INET6}) {
    auto listener = listen_tcp(family, "", port);
    if (!listener) {
      log(LogLevel::warning, "capture: {}", listener.error().message);
      continue;
    }
    auto acceptor = acceptor_of(executor_, *std::move(listener), family);
    if (!acceptor) continue;
    accept_from(*acceptor);
    acceptors.push_back(*std::move(acceptor));
  }
}

void Capture::set_ports(const std::vector<std::uint16_t>& ports) {
  if (lookup_) return complain(lookup_->set_ports(ports));
  for (auto known = listeners_.begin(); known != listeners_.end();) {
    if (std::ranges::find(ports, known->first) != ports.end()) {
      ++known;
      continue;
    }
    for (const auto& acceptor : known->second) {
      error_code ignored;
      acceptor->close(ignored);
    }
    known = listeners_.erase(known);
  }
  for (const std::uint16_t port : ports)
    if (port != 0 && !listeners_.contains(port)) listen_on(port);
}

std::string CaptureService::begin(const asio::any_io_executor& executor,
                                  const std::optional<wire::Capture>& wanted) {
  if (!wanted) return {};
  if (capture_) {
    capture_->set_ports(wanted->ports);
  } else {
    capture_ = Capture::start(executor, settings_, wanted->ports);
  }
  return capture_->problem();
}

void CaptureService::set_ports(const std::vector<std::uint16_t>& ports) {
  if (capture_) capture_->set_ports(ports);
}

}  // namespace pinhole::agent
