// SPDX-License-Identifier: Apache-2.0
// A load generator for proxies: N connections over TCP, vsock or a unix socket, plain or by TLS,
// straight or inside a CONNECT, each with one GET in flight, for a number of seconds. One thread, epoll, as
// little work per answer as it takes to know where it ends. A server that closes after its answer
// costs a new connection, which is part of what is measured. Prints one JSON object.
#include <arpa/inet.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

// After sys/socket.h: it uses sockaddr.
#include <linux/vm_sockets.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <openssl/err.h>
#include <openssl/ssl.h>

namespace {

using Clock = std::chrono::steady_clock;

struct Address {
  sockaddr_storage bytes{};
  socklen_t size = 0;  // 0: not given
};

struct Options {
  Address to;
  std::string host = "localhost";  // what a request to an origin names
  std::string connect_to;          // HOST:PORT of a CONNECT
  std::string tls_name;            // empty: no TLS
  std::string ca_file;
  std::string request;
  unsigned connections = 32;
  double seconds = 5;
  double warm_up = 0.5;
  std::uint64_t answers = 0;  // end after so many instead of after `seconds`
  bool fresh = false;
  bool hold = false;
};

struct Totals {
  std::uint64_t answers = 0, errors = 0, connects = 0, body_bytes = 0;
  std::vector<std::uint32_t> nanoseconds;
};

[[noreturn]] void die(const char* what) {
  std::perror(what);
  std::exit(2);
}

[[noreturn]] void complain(const std::string& what) {
  std::fprintf(stderr, "bench_pep_load: %s\n", what.c_str());
  std::exit(2);
}

struct FreeSsl {
  void operator()(SSL* ssl) const { SSL_free(ssl); }
};

enum class Step { connecting, handshaking, asking };

struct Connection {
  int fd = -1;
  std::unique_ptr<SSL, FreeSsl> ssl;
  Step step = Step::asking;
  std::string input;
  std::optional<std::uint64_t> left;  // of the body; none: still in the head
  bool close_after = false;
  bool ok = false;  // status 200
  Clock::time_point sent;
};

class Load {
 public:
  explicit Load(const Options& options) : options_(options), poll_(::epoll_create1(EPOLL_CLOEXEC)) {
    connections_.resize(options.connections);
    if (options.tls_name.empty()) return;
    tls_ = SSL_CTX_new(TLS_client_method());
    SSL_CTX_set_verify(tls_, SSL_VERIFY_PEER, nullptr);
    SSL_CTX_set_read_ahead(tls_, 1);
    SSL_CTX_set_mode(tls_, SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_session_cache_mode(tls_, SSL_SESS_CACHE_OFF);  // each handshake is a whole one
    if (SSL_CTX_load_verify_locations(tls_, options.ca_file.c_str(), nullptr) != 1)
      complain("cannot read " + options.ca_file);
  }

  Totals run() {
    for (std::size_t i = 0; i < connections_.size(); ++i) open(i);
    if (options_.answers > 0) {
      measured_from_ = Clock::now();
      run_until(Clock::time_point::max(), options_.answers);
    } else {
      run_until(Clock::now() + seconds(options_.warm_up), kNoLimit);
      totals_ = {};
      measured_from_ = Clock::now();
      run_until(measured_from_ + seconds(options_.seconds), kNoLimit);
    }
    measured_ = std::chrono::duration<double>(Clock::now() - measured_from_).count();
    return std::move(totals_);
  }

  /// Opens the connections with a request on each, waits for a line on stdin, and asks once more on
  /// each.
  Totals hold() {
    constexpr std::size_t kAtOnce = 16;
    holding_ = true;
    std::size_t opened = 0;
    while (totals_.answers < connections_.size()) {
      while (opened < connections_.size() && opened < totals_.answers + kAtOnce) open(opened++);
      wait_once();
      if (totals_.errors > 0) complain("a connection failed while they were opened");
    }
    std::puts("held");
    std::fflush(stdout);
    if (std::getchar() == EOF) std::exit(0);
    totals_ = {};
    for (std::size_t i = 0; i < connections_.size();) {
      const std::size_t end = std::min(i + kAtOnce, connections_.size());
      for (std::size_t k = i; k < end; ++k) send_request(k);
      while (totals_.answers + totals_.errors < end) wait_once();
      i = end;
    }
    return std::move(totals_);
  }
  [[nodiscard]] double measured() const { return measured_; }

 private:
  static constexpr std::uint64_t kNoLimit = std::numeric_limits<std::uint64_t>::max();

  static Clock::duration seconds(double count) {
    return std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(count));
  }

  void run_until(Clock::time_point end, std::uint64_t answers) {
    while (totals_.answers < answers && Clock::now() < end) wait_once();
  }

  void wait_once() {
    std::array<epoll_event, 64> events{};
    const int count = ::epoll_wait(poll_, events.data(), events.size(), 100);
    for (int i = 0; i < count; ++i)
      readable(static_cast<std::size_t>(events[static_cast<std::size_t>(i)].data.u64));
  }

  int connected_socket() const {
    const Address& to = options_.to;
    const int fd = ::socket(to.bytes.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) die("socket");
    const int on = 1;
    if (to.bytes.ss_family == AF_INET || to.bytes.ss_family == AF_INET6)
      ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (::connect(fd, reinterpret_cast<const sockaddr*>(&to.bytes), to.size) != 0) die("connect");
    return fd;
  }

  void open(std::size_t index) {
    Connection& connection = connections_[index];
    connection.ssl.reset();
    if (connection.fd >= 0) ::close(connection.fd);
    connection.fd = connected_socket();
    ++totals_.connects;
    ::fcntl(connection.fd, F_SETFL, O_NONBLOCK);
    connection.input.clear();
    connection.left.reset();
    epoll_event event{.events = EPOLLIN, .data = {.u64 = index}};
    if (::epoll_ctl(poll_, EPOLL_CTL_ADD, connection.fd, &event) != 0) die("epoll_ctl");
    connection.sent = Clock::now();
    if (options_.connect_to.empty()) return start_inside(index);
    connection.step = Step::connecting;
    const std::string text =
        "CONNECT " + options_.connect_to + " HTTP/1.1\r\nHost: " + options_.connect_to + "\r\n\r\n";
    if (::send(connection.fd, text.data(), text.size(), MSG_NOSIGNAL) !=
        static_cast<ssize_t>(text.size()))
      failed(index);
  }

  /// What comes once the way to the origin is there.
  void start_inside(std::size_t index) {
    Connection& connection = connections_[index];
    if (tls_ == nullptr) {
      connection.step = Step::asking;
      return send_request(index);
    }
    connection.step = Step::handshaking;
    connection.ssl.reset(SSL_new(tls_));
    SSL* ssl = connection.ssl.get();
    SSL_set_fd(ssl, connection.fd);
    SSL_set_tlsext_host_name(ssl, options_.tls_name.c_str());
    SSL_set1_host(ssl, options_.tls_name.c_str());
    SSL_set_connect_state(ssl);
    shake_hands(index);
  }

  void shake_hands(std::size_t index) {
    Connection& connection = connections_[index];
    ERR_clear_error();
    const int result = SSL_do_handshake(connection.ssl.get());
    if (result == 1) {
      connection.step = Step::asking;
      return send_request(index);
    }
    if (SSL_get_error(connection.ssl.get(), result) != SSL_ERROR_WANT_READ) failed(index);
  }

  void send_request(std::size_t index) {
    Connection& connection = connections_[index];
    if (!options_.fresh) connection.sent = Clock::now();  // fresh: with the way to it
    const auto& request = options_.request;
    const auto size = static_cast<ssize_t>(request.size());
    const ssize_t done =
        connection.ssl
            ? SSL_write(connection.ssl.get(), request.data(), static_cast<int>(request.size()))
            : ::send(connection.fd, request.data(), request.size(), MSG_NOSIGNAL);
    if (done != size) failed(index);
  }

  void failed(std::size_t index) {
    ++totals_.errors;
    if (totals_.errors > 10'000) complain("more than 10000 errors");
    open(index);
  }

  /// Bytes; 0: nothing now; -1: the end.
  ssize_t receive(Connection& connection) {
    if (connection.ssl) {
      ERR_clear_error();
      const int count =
          SSL_read(connection.ssl.get(), buffer_.data(), static_cast<int>(buffer_.size()));
      if (count > 0) return count;
      return SSL_get_error(connection.ssl.get(), count) == SSL_ERROR_WANT_READ ? 0 : -1;
    }
    const ssize_t count = ::recv(connection.fd, buffer_.data(), buffer_.size(), 0);
    if (count < 0 && (errno == EAGAIN || errno == EINTR)) return 0;
    return count > 0 ? count : -1;
  }

  void readable(std::size_t index) {
    Connection& connection = connections_[index];
    if (connection.step == Step::handshaking) return shake_hands(index);
    if (connection.step == Step::connecting) return read_connected(index);
    bool more = true;
    while (more) {
      const ssize_t count = receive(connection);
      if (count == 0) return;
      if (count < 0) return failed(index);
      more = connection.ssl && SSL_has_pending(connection.ssl.get()) == 1;
      if (take(index, {buffer_.data(), static_cast<std::size_t>(count)})) return;
    }
  }

  void read_connected(std::size_t index) {
    Connection& connection = connections_[index];
    const ssize_t count = ::recv(connection.fd, buffer_.data(), buffer_.size(), 0);
    if (count <= 0) return failed(index);
    connection.input.append(buffer_.data(), static_cast<std::size_t>(count));
    if (!connection.input.ends_with("\r\n\r\n")) return;
    if (connection.input.substr(8, 5) != " 200 ") complain("CONNECT: " + connection.input);
    connection.input.clear();
    start_inside(index);
  }

  /// True when that ended an answer.
  bool take(std::size_t index, std::string_view bytes) {
    Connection& connection = connections_[index];
    if (!connection.left) {
      connection.input.append(bytes);
      if (!read_head(connection)) return false;
      bytes = connection.input;
    }
    const std::uint64_t part = std::min<std::uint64_t>(*connection.left, bytes.size());
    *connection.left -= part;
    totals_.body_bytes += part;
    connection.input.clear();
    if (*connection.left > 0) return false;
    answered(index);
    return true;
  }

  static bool read_head(Connection& connection) {
    const std::string_view input = connection.input;
    const std::size_t end = input.find("\r\n\r\n");
    if (end == std::string_view::npos) return false;
    const std::string_view head = input.substr(0, end + 2);
    connection.ok = head.starts_with("HTTP/1.1 200") || head.starts_with("HTTP/1.0 200");
    connection.close_after = head.starts_with("HTTP/1.0");
    connection.left = 0;
    for (std::size_t at = head.find("\r\n") + 2; at < head.size();) {
      const std::size_t stop = head.find("\r\n", at);
      read_field(connection, head.substr(at, stop - at));
      at = stop + 2;
    }
    connection.input.erase(0, end + 4);
    return true;
  }

  static void read_field(Connection& connection, std::string_view line) {
    const auto named = [line](std::string_view name) {
      return line.size() > name.size() && ::strncasecmp(line.data(), name.data(), name.size()) == 0;
    };
    if (named("content-length:")) {
      std::size_t at = 15;
      while (at < line.size() && line[at] == ' ') ++at;
      std::uint64_t length = 0;
      std::from_chars(line.data() + at, line.data() + line.size(), length);
      connection.left = length;
    } else if (named("connection:")) {
      connection.close_after = line.find("lose") != std::string_view::npos;
    }
  }

  void answered(std::size_t index) {
    Connection& connection = connections_[index];
    if (connection.ok) {
      ++totals_.answers;
    } else {
      ++totals_.errors;
    }
    const auto took =
        std::chrono::duration_cast<std::chrono::nanoseconds>(Clock::now() - connection.sent);
    totals_.nanoseconds.push_back(static_cast<std::uint32_t>(
        std::min<std::int64_t>(took.count(), std::numeric_limits<std::uint32_t>::max())));
    connection.left.reset();
    if (holding_) return;
    if (connection.close_after || options_.fresh) return open(index);
    send_request(index);
  }

  const Options& options_;
  int poll_;
  SSL_CTX* tls_ = nullptr;  // for the life of the program
  std::vector<Connection> connections_;
  std::array<char, 262144> buffer_{};
  Totals totals_;
  Clock::time_point measured_from_;
  double measured_ = 0;
  bool holding_ = false;
};

[[noreturn]] void usage() {
  std::fputs(
      "usage: bench_pep_load (--unix PATH | --port N | --tcp HOST:PORT | --vsock CID:PORT)\n"
      "                      --url URL [--connections 32] [--seconds 5] [--warm-up 0.5]\n"
      "                      [--connect HOST:PORT] [--tls NAME --ca FILE] [--fresh yes]\n"
      "                      [--answers N] [--hold yes]\n"
      "  URL in absolute form goes to a proxy, one that starts with / to an origin.\n"
      "  --fresh yes: a new connection for each request.\n"
      "  --answers N: ends after so many, without a warm-up.\n"
      "  --hold yes: one request on each connection, then waits for a line on stdin, then one\n"
      "  more.\n",
      stderr);
  std::exit(2);
}

template <class Family>
Address address(const Family& family) {
  Address made;
  std::memcpy(&made.bytes, &family, sizeof family);
  made.size = sizeof family;
  return made;
}

Address unix_address(std::string_view path) {
  sockaddr_un made{};
  made.sun_family = AF_UNIX;
  if (path.size() >= sizeof made.sun_path) complain("too long a path");
  path.copy(made.sun_path, sizeof made.sun_path - 1);
  return address(made);
}

Address vsock_address(const char* words) {
  sockaddr_vm made{};
  made.svm_family = AF_VSOCK;
  if (std::sscanf(words, "%u:%u", &made.svm_cid, &made.svm_port) != 2) usage();
  return address(made);
}

/// The first one, as the resolver orders them.
Address tcp_address(const std::string& host, const std::string& port) {
  addrinfo wanted{};
  wanted.ai_socktype = SOCK_STREAM;
  wanted.ai_flags = AI_ADDRCONFIG;
  addrinfo* found = nullptr;
  if (const int error = ::getaddrinfo(host.c_str(), port.c_str(), &wanted, &found); error != 0)
    complain(host + ": " + ::gai_strerror(error));
  Address made;
  std::memcpy(&made.bytes, found->ai_addr, found->ai_addrlen);
  made.size = found->ai_addrlen;
  ::freeaddrinfo(found);
  return made;
}

Address tcp_address(const std::string& words) {
  const std::size_t colon = words.rfind(':');
  if (colon == std::string::npos) usage();
  return tcp_address(words.substr(0, colon), words.substr(colon + 1));
}

void take_option(Options& options, std::string& url, std::string_view name, const char* value) {
  if (name == "--unix") {
    options.to = unix_address(value);
  } else if (name == "--port") {
    options.to = tcp_address("127.0.0.1", value);
  } else if (name == "--tcp") {
    options.to = tcp_address(value);
    options.host = std::string(value).substr(0, std::string_view(value).rfind(':'));
  } else if (name == "--vsock") {
    options.to = vsock_address(value);
  } else if (name == "--connect") {
    options.connect_to = value;
  } else if (name == "--tls") {
    options.tls_name = value;
  } else if (name == "--ca") {
    options.ca_file = value;
  } else if (name == "--url") {
    url = value;
  } else if (name == "--connections") {
    options.connections = static_cast<unsigned>(std::atoi(value));
  } else if (name == "--seconds") {
    options.seconds = std::atof(value);
  } else if (name == "--warm-up") {
    options.warm_up = std::atof(value);
  } else if (name == "--answers") {
    options.answers = static_cast<std::uint64_t>(std::atoll(value));
  } else if (name == "--fresh") {
    options.fresh = std::string_view(value) == "yes";
  } else if (name == "--hold") {
    options.hold = std::string_view(value) == "yes";
  } else {
    usage();
  }
}

Options parse(int argc, char** argv) {
  Options options;
  std::string url;
  if (argc % 2 == 0) usage();
  for (int i = 1; i + 1 < argc; i += 2) take_option(options, url, argv[i], argv[i + 1]);
  if (url.empty() || options.to.size == 0) usage();
  std::string host = options.connect_to.empty() ? options.host : options.connect_to;
  if (const auto at = url.find("://"); at != std::string::npos)
    host = url.substr(at + 3, url.find('/', at + 3) - at - 3);
  options.request = "GET " + url + " HTTP/1.1\r\nHost: " + host + "\r\nAccept: */*\r\n" +
                    (options.fresh ? "Connection: close\r\n\r\n" : "\r\n");
  return options;
}

double percentile(const std::vector<std::uint32_t>& sorted, double share) {
  if (sorted.empty()) return 0;
  return sorted[static_cast<std::size_t>(share * static_cast<double>(sorted.size() - 1))] / 1000.0;
}

}  // namespace

int main(int argc, char** argv) {
  const Options options = parse(argc, argv);
  rlimit files{};
  ::getrlimit(RLIMIT_NOFILE, &files);
  files.rlim_cur = files.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &files);
  Load load(options);
  Totals totals = options.hold ? load.hold() : load.run();
  const double measured = options.hold ? 1 : load.measured();
  auto& latencies = totals.nanoseconds;
  std::ranges::sort(latencies);
  std::printf(
      "{\"requests_per_second\": %.0f, \"bytes_per_second\": %.0f, \"answers\": %llu, "
      "\"errors\": %llu, \"connects\": %llu, \"p50_us\": %.1f, \"p99_us\": %.1f, "
      "\"seconds\": %.3f}\n",
      static_cast<double>(totals.answers) / measured,
      static_cast<double>(totals.body_bytes) / measured,
      static_cast<unsigned long long>(totals.answers),
      static_cast<unsigned long long>(totals.errors),
      static_cast<unsigned long long>(totals.connects), percentile(latencies, 0.5),
      percentile(latencies, 0.99), measured);
  return 0;
}
