// SPDX-License-Identifier: Apache-2.0
#include "agent/dns_server.h"

#include <array>
#include <utility>

#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ip/udp.hpp>

#include "agent/network.h"
#include "agent/proxy.h"
#include "base/log.h"
#include "base/strings.h"

namespace pinhole::agent {
namespace {

using asio::ip::udp;
using std::chrono::milliseconds;

constexpr std::uint32_t kTtl = 300;
constexpr std::uint32_t kNegativeTtl = 60;
constexpr std::size_t kTcpLimit = 65'535;
constexpr milliseconds kTcpIdle{10'000};
constexpr milliseconds kRetry{100};

bool is_below(std::string_view name, std::string_view domain) {
  if (!name.ends_with(domain)) return false;
  name.remove_suffix(domain.size());
  return name.empty() || name.ends_with('.');
}

bool wants(const dns::Query& query, dns::Type type) {
  return query.type == type || query.type == dns::Type::any;
}

dns::Answer negative(dns::Code code) { return {.code = code, .ttl = kNegativeTtl}; }

dns::Answer positive(std::vector<dns::Record> records) {
  const std::uint32_t ttl = records.empty() ? kNegativeTtl : kTtl;
  return {.records = std::move(records), .ttl = ttl};
}

std::optional<std::string> name_behind(const Names& names, const dns::Record& address) {
  static constexpr Address4 kOwn{198, 18, 0, 1};
  std::optional<Address4> v4;
  if (const auto* a = std::get_if<dns::A>(&address)) v4 = a->address;
  if (const auto* aaaa = std::get_if<dns::Aaaa>(&address)) {
    constexpr Address6 kLoopback{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1};
    if (aaaa->address == kLoopback) return "localhost";
    v4 = unmapped_v4(aaaa->address);
  }
  if (!v4) return std::nullopt;
  if ((*v4)[0] == 127 || *v4 == kOwn) return "localhost";
  const auto name = names.name_of(*v4);
  if (!name) return std::nullopt;
  return std::string(*name);
}

dns::Answer answer_reverse(const Names& names, const dns::Query& query,
                           const dns::Record& address) {
  auto name = name_behind(names, address);
  if (!name) return negative(dns::Code::name_error);
  if (!wants(query, dns::Type::ptr)) return positive({});
  return positive({dns::Ptr{*std::move(name)}});
}

dns::Answer addresses(const dns::Query& query, const Address4& v4, const Address6& v6) {
  std::vector<dns::Record> records;
  if (wants(query, dns::Type::a)) records.emplace_back(dns::A{v4});
  if (wants(query, dns::Type::aaaa)) records.emplace_back(dns::Aaaa{v6});
  return positive(std::move(records));
}

/// The answer to a message, or nothing.
std::string respond(Names& names, dns::Bytes message, bool over_udp) {
  const auto query = dns::parse_query(message);
  if (!query) return query.error().code ? dns::build_answer(query.error()) : std::string();
  return dns::build_answer(*query, answer_question(names, *query),
                           over_udp ? dns::udp_limit(*query) : kTcpLimit);
}

asio::awaitable<void> serve_udp(udp::socket socket, std::shared_ptr<Names> names) {
  asio::steady_timer pause(socket.get_executor());
  std::array<std::uint8_t, dns::kQueryBytes + 1> message;
  udp::endpoint asker;
  for (;;) {
    const auto [error, n] =
        co_await socket.async_receive_from(asio::buffer(message), asker, as_result);
    if (error) {  // an asker that is gone (ECONNREFUSED), or no memory
      pause.expires_after(kRetry);
      co_await pause.async_wait(as_result);
      continue;
    }
    const std::string answer = respond(*names, {message.data(), n}, true);
    if (answer.empty()) continue;
    [[maybe_unused]] const auto sent =
        co_await socket.async_send_to(asio::buffer(answer), asker, as_result);
  }
}

/// A question with its length in front (RFC 1035 §4.2.2); false at the end.
asio::awaitable<bool> serve_question(std::shared_ptr<Stream> stream, std::shared_ptr<Names> names) {
  std::array<std::uint8_t, 2> length;
  const auto [no_length, m] = co_await asio::async_read(*stream, asio::buffer(length), as_result);
  if (no_length) co_return false;
  const std::size_t size = std::size_t{length[0]} << 8 | length[1];
  if (size > dns::kQueryBytes) co_return false;
  std::string message(size, '\0');
  const auto [no_message, n] = co_await asio::async_read(*stream, asio::buffer(message), as_result);
  if (no_message) co_return false;
  std::string answer = respond(
      *names, {reinterpret_cast<const std::uint8_t*>(message.data()), message.size()}, false);
  if (answer.empty()) co_return false;
  const std::size_t bytes = answer.size();
  answer.insert(0, {static_cast<char>(bytes >> 8), static_cast<char>(bytes & 0xFF)});
  const auto [unsent, k] = co_await asio::async_write(*stream, asio::buffer(answer), as_result);
  co_return !unsent;
}

asio::awaitable<void> serve_tcp(Stream connected, std::shared_ptr<Names> names) {
  const auto stream = std::make_shared<Stream>(std::move(connected));
  bool more = true;
  while (more) {
    const auto served = co_await with_deadline(serve_question(stream, names), kTcpIdle);
    more = served.value_or(false);
  }
}

}  // namespace

dns::Answer answer_question(Names& names, const dns::Query& query) {
  if (!query.is_internet) return negative(dns::Code::refused);
  if (const auto address = dns::reverse_address(query.name))
    return answer_reverse(names, query, *address);
  if (query.name.empty()) return positive({});
  const std::string name = to_lower(query.name);
  if (is_below(name, "localhost")) {
    constexpr Address6 kLoopback{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1};
    return addresses(query, {127, 0, 0, 1}, kLoopback);
  }
  const bool exists = query.is_host_name && !is_below(name, "invalid") &&
                      !is_below(name, "onion") && !is_below(name, "arpa") &&
                      !is_below(name, "use-application-dns.net");
  if (!exists) return negative(dns::Code::name_error);
  // Only who asks for an address uses one up.
  if (!wants(query, dns::Type::a) && !wants(query, dns::Type::aaaa)) return positive({});
  const auto address = names.address_of(name);
  if (!address) return {.code = dns::Code::server_failure};
  return addresses(query, *address, mapped_v6(*address));
}

Result<std::uint16_t> start_dns_server(const asio::any_io_executor& executor,
                                       const std::string& address, std::uint16_t port,
                                       std::shared_ptr<Names> names) {
  udp::socket socket(executor);
  error_code error;
  const auto ip = asio::ip::make_address_v4(address, error);
  if (!error) socket.open(udp::v4(), error);
  if (!error) socket.bind({ip, port}, error);
  if (error) return fail("cannot listen on {}, UDP port {}: {}", address, port, error.message());
  const std::uint16_t bound = socket.local_endpoint(error).port();
  asio::ip::tcp::acceptor listener(executor);
  listener.open(asio::ip::tcp::v4(), error);
  if (!error) listener.set_option(asio::socket_base::reuse_address(true), error);
  if (!error) listener.bind({ip, bound}, error);
  if (!error) listener.listen(static_cast<int>(kDnsConnections), error);
  if (error) return fail("cannot listen on {}, TCP port {}: {}", address, bound, error.message());
  Acceptor acceptor(executor);
  acceptor.assign({AF_INET, IPPROTO_TCP}, listener.release(), error);
  if (error) return fail("cannot listen on {}: {}", address, error.message());
  asio::co_spawn(executor, serve_udp(std::move(socket), names), asio::detached);
  asio::co_spawn(
      executor,
      accept_each(std::make_shared<Acceptor>(std::move(acceptor)),
                  std::make_shared<Places>(executor, kDnsConnections),
                  [names](Stream stream) { return serve_tcp(std::move(stream), names); }),
      asio::detached);
  return bound;
}

}  // namespace pinhole::agent
