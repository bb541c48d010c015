// SPDX-License-Identifier: Apache-2.0
#include "pep/harness.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

#include <future>

#include "base/check.h"
#include "base/strings.h"
#include "http/header.h"
#include "pep/credentials.h"
#include "sys/unix_socket.h"
#include "yaml/yaml.h"

namespace pinhole::pep::testing {

Peer::Peer(Fd socket) : socket_(std::move(socket)) {
  const timeval patience{.tv_sec = kPatience.count(), .tv_usec = 0};
  ::setsockopt(socket_.get(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  ::setsockopt(socket_.get(), SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
}

/// TLS over a blocking socket.
struct Peer::Tls final : tls::Transport {
  explicit Tls(int socket) : fd(socket) {}
  std::ptrdiff_t receive(std::span<char> room) override {
    const ssize_t count = ::recv(fd, room.data(), room.size(), 0);
    return count < 0 ? kError : count;
  }
  std::ptrdiff_t send(std::string_view bytes) override {
    const ssize_t count = ::send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    return count < 0 ? kError : count;
  }

  int fd;
  tls::Client client = {};
  std::optional<tls::Stream> stream = {};
};

bool Peer::start_tls(const std::filesystem::path& ca, const std::string& name,
                     std::vector<std::string> alpn) {
  constexpr std::uint64_t kLargest = 1 << 20;
  const auto trust = tls::TrustStore::host_and(sys::read_file(ca, kLargest).value()).value();
  auto wire = std::make_shared<Tls>(socket_.get());
  wire->stream = wire->client.connect(trust, name, false, alpn, *wire).value();
  return run_tls(std::move(wire));
}

bool Peer::accept_tls(tls::Server& server, const std::string& name, std::vector<std::string> alpn) {
  auto wire = std::make_shared<Tls>(socket_.get());
  wire->stream = server.accept(name, false, alpn, *wire).value();
  return run_tls(std::move(wire));
}

bool Peer::run_tls(std::shared_ptr<Tls> wire) {
  if (wire->stream->handshake() != tls::Status::ok) return false;
  tls_ = std::move(wire);
  return true;
}

bool Peer::send(std::string_view bytes) {
  while (tls_ && !bytes.empty()) {
    std::size_t count = 0;
    if (tls_->stream->write(bytes, count) != tls::Status::ok) return false;
    bytes.remove_prefix(count);
  }
  while (!bytes.empty()) {
    const ssize_t count = ::send(socket_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (count <= 0) return false;
    bytes.remove_prefix(static_cast<std::size_t>(count));
  }
  return true;
}

bool Peer::fill() {
  char piece[64 * 1024];
  if (tls_) {
    std::size_t count = 0;
    tls::Status status = tls::Status::want_read;  // also where a ticket came and nothing else
    while (status == tls::Status::want_read) status = tls_->stream->read(piece, count);
    if (status != tls::Status::ok) return false;
    pending_.append(piece, count);
    return true;
  }
  const ssize_t count = ::recv(socket_.get(), piece, sizeof piece, 0);
  if (count <= 0) return false;
  pending_.append(piece, static_cast<std::size_t>(count));
  return true;
}

std::string Peer::read_some() {
  if (pending_.empty()) fill();
  return std::exchange(pending_, {});
}

std::string Peer::read_until(std::string_view end) {
  while (pending_.find(end) == std::string::npos) {
    if (!fill()) return "";
  }
  return read_exactly(pending_.find(end) + end.size());
}

std::string Peer::read_exactly(std::size_t count) {
  while (pending_.size() < count && fill()) {
  }
  std::string out = pending_.substr(0, count);
  pending_.erase(0, out.size());
  return out;
}

std::string Peer::read_all() {
  while (fill()) {
  }
  return std::exchange(pending_, {});
}

bool Peer::at_end() { return pending_.empty() && !fill(); }

bool Peer::is_held_back() {
  constexpr int kAWhile = 300;  // milliseconds
  pollfd writable{.fd = socket_.get(), .events = POLLOUT, .revents = 0};
  return ::poll(&writable, 1, kAWhile) == 0;
}

void Peer::half_close() {
  if (tls_) tls_->stream->shutdown();
  ::shutdown(socket_.get(), SHUT_WR);
}

int Answer::status() const { return head.size() < 12 ? 0 : std::stoi(head.substr(9, 3)); }

std::string Answer::header(std::string_view name) const {
  for (const auto line : split(head, '\n')) {
    const auto field = http::parse_header_line(trim(line));
    if (field && http::iequals(field->name, name)) return field->value;
  }
  return "";
}

Answer read_answer(Peer& peer, bool head_request) {
  Answer answer{.head = peer.read_until("\r\n\r\n")};
  if (answer.head.empty()) return answer;
  if (answer.status() / 100 == 1) return answer;
  const std::string length = answer.header("content-length");
  if (head_request || answer.status() == 204 || answer.status() == 304) {
    answer.whole = true;
  } else if (answer.header("transfer-encoding") == "chunked") {
    while (true) {
      const std::string line = peer.read_until("\r\n");
      if (line.empty()) return answer;
      const std::size_t size = std::stoul(line, nullptr, 16);
      answer.body += peer.read_exactly(size);
      if (peer.read_exactly(2) != "\r\n") return answer;
      if (size == 0) break;
    }
    answer.whole = true;
  } else if (!length.empty()) {
    answer.body = peer.read_exactly(std::stoul(length));
    answer.whole = answer.body.size() == std::stoul(length);
  } else {
    answer.body = peer.read_all();
    answer.whole = true;
  }
  return answer;
}

Origin::Origin(Serve serve) : listener_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
  sockaddr_in address{
      .sin_family = AF_INET, .sin_port = 0, .sin_addr = {htonl(INADDR_LOOPBACK)}, .sin_zero = {}};
  PINHOLE_CHECK(::bind(listener_.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) ==
                0);
  PINHOLE_CHECK(::listen(listener_.get(), 64) == 0);
  socklen_t size = sizeof address;
  ::getsockname(listener_.get(), reinterpret_cast<sockaddr*>(&address), &size);
  port_ = ntohs(address.sin_port);
  acceptor_ = std::jthread([this, serve = std::move(serve)] {
    while (true) {
      Fd socket(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
      if (!socket) return;
      ++connections_;
      threads_.emplace_back([serve, fd = socket.release()] {
        Peer peer{Fd(fd)};
        serve(peer);
      });
    }
  });
}

Origin::~Origin() {
  ::shutdown(listener_.get(), SHUT_RDWR);
  acceptor_.join();
}

Origin::Serve answer_each(std::function<std::string(const std::string& head)> answer) {
  return [answer = std::move(answer)](Peer& peer) {
    while (true) {
      const std::string head = peer.read_until("\r\n\r\n");
      if (head.empty() || !peer.send(answer(head))) return;
    }
  };
}

std::string ok(std::string_view body) {
  return fmt::format("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{}", body.size(), body);
}

TlsSide::TlsSide(std::function<std::time_t()> now) : folder_(sys::TempDir::make().value()) {
  auto authority = tls::Authority::create("t").value();
  PINHOLE_CHECK(sys::write_file_atomic(ca_file(), authority.certificate_pem()).has_value());
  server_.emplace(std::move(authority), tls::ServerLimits{.now = std::move(now)});
}

bool TlsSide::accept(Peer& peer, const std::string& name, std::vector<std::string> alpn) {
  const std::lock_guard lock(mutex_);
  return peer.accept_tls(*server_, name, std::move(alpn));
}

Origin::Serve over_tls(TlsSide& side, Origin::Serve serve, std::vector<std::string> alpn,
                       std::string name) {
  return [&side, serve = std::move(serve), alpn = std::move(alpn),
          name = std::move(name)](Peer& peer) {
    if (side.accept(peer, name, alpn)) serve(peer);
  };
}

namespace {

policy::Policy compile(const std::string& text, const std::optional<Canary>& canary) {
  std::vector<policy::Layer> layers;
  layers.push_back(
      {.kind = policy::LayerKind::user, .document = yaml::parse(text, "policy.yaml").value()});
  std::vector<policy::Builtin> builtins;
  if (canary) builtins.push_back(canary->rule());
  auto policy = policy::Policy::compile(std::move(layers), std::move(builtins));
  if (!policy) throw std::runtime_error(format_error("policy", policy.error()));
  return *std::move(policy);
}

}  // namespace

Proxy::Proxy(Setup setup)
    : folder_(sys::TempDir::make().value()),
      audit_(setup.audit.empty() ? folder_.path() / "audit.jsonl" : setup.audit) {
  if (setup.canary) {
    canary_ = Canary::open(context_).value();
    canary_->start();
  }
  policy::Policy policy = compile(setup.policy, canary_);
  AuditLog log =
      AuditLog::open(audit_, {.vm = "t", .boot = "b", .image = "", .policy = policy.hash()})
          .value();
  std::string servers;
  for (const http::Endpoint& server : policy.resolver_servers())
    servers += (servers.empty() ? "" : ",") + http::to_string(server);
  door_ = std::make_unique<Door>(context_, std::move(policy), std::move(log), setup.times,
                                 Resolver::Settings{.servers = std::move(servers)});
  if (setup.authority) {
    constexpr std::string_view kSeed = "0123456789abcdef0123456789abcdef";
    auto authority = tls::Authority::create("t").value();
    PINHOLE_CHECK(sys::write_file_atomic(ca_file(), authority.certificate_pem()).has_value());
    door_->tls_server.emplace(std::move(authority));
    door_->placeholder_seed = kSeed;
    door_->vault = make_vault(door_->policy, kSeed).value();
    for (const auto& [name, value] : setup.secrets)
      PINHOLE_CHECK(door_->vault.set_value(name, value).has_value());
  }
  if (!setup.token.empty()) door_->token = ProxyToken::make(setup.token).value();
  server_ = std::make_unique<Server>(*door_, sys::listen_unix(folder_.path() / "door").value());
  server_->start();
  thread_ = std::thread([this] { context_.run(); });
}

std::string Proxy::placeholder(std::string_view name) const {
  for (const auto& secret : door_->vault.secrets()) {
    if (secret.name == name) return secret.placeholder;
  }
  return "";
}

Peer Proxy::connect() { return Peer(sys::connect_unix(folder_.path() / "door").value()); }

Peer Proxy::enter(const std::string& host, std::uint16_t port, std::vector<std::string> alpn) {
  Peer peer = connect();
  peer.send(fmt::format("CONNECT {0}:{1} HTTP/1.1\r\nHost: {0}:{1}\r\n\r\n", host, port));
  const std::string answer = peer.read_until("\r\n\r\n");
  if (!answer.starts_with("HTTP/1.1 200 ") || !peer.start_tls(ca_file(), host, std::move(alpn)))
    peer.close();
  return peer;
}

Answer Proxy::ask(std::string_view request) {
  Peer peer = connect();
  peer.send(request);
  return read_answer(peer, request.starts_with("HEAD "));
}

void Proxy::stop() {
  if (!thread_.joinable()) return;
  asio::co_spawn(context_, server_->stop(), [this](const std::exception_ptr&) {
    [[maybe_unused]] const auto sealed = door_->audit.seal();
    context_.stop();
  });
  thread_.join();
}

std::string Proxy::audit_text() {
  stop();
  return sys::read_file(audit_, std::uint64_t{64} << 20).value();
}

Stats Proxy::stats() {
  std::promise<Stats> promise;
  asio::post(context_, [&] { promise.set_value(door_->stats); });
  return promise.get_future().get();
}

std::size_t Proxy::sessions() {
  std::promise<std::size_t> promise;
  asio::post(context_, [&] { promise.set_value(server_->sessions()); });
  return promise.get_future().get();
}

std::string policy_for(std::uint16_t port, std::string_view allow, std::string_view more) {
  return fmt::format(
      "version: 1\negress:\n  allow: [{0}]\n"
      "internal: [\"origin.test:80 -> 127.0.0.1:{1}\", \"origin.test:443 -> 127.0.0.1:{1}\"]\n{2}",
      allow, port, more);
}

namespace {

std::string u16(std::size_t value) {
  return {static_cast<char>(value >> 8), static_cast<char>(value & 0xFF)};
}
std::string extension(std::size_t type, const std::string& body) {
  return u16(type) + u16(body.size()) + body;
}

}  // namespace

std::string client_hello(std::string_view server_name, bool ech) {
  std::string extensions;
  if (!server_name.empty()) {
    const std::string entry =
        std::string(1, '\0') + u16(server_name.size()) + std::string(server_name);
    extensions += extension(0, u16(entry.size()) + entry);
  }
  if (ech) extensions += extension(0xfe0d, std::string(8, 'x'));
  std::string body = std::string("\x03\x03") + std::string(32, 'r') + std::string(1, '\0') +
                     u16(2) + std::string("\x13\x01") + std::string("\x01\0", 2) +
                     u16(extensions.size()) + extensions;
  const std::string handshake = std::string("\x01\0", 2) + u16(body.size()) + body;
  return std::string("\x16\x03\x01") + u16(handshake.size()) + handshake;
}

}  // namespace pinhole::pep::testing
