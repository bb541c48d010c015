// SPDX-License-Identifier: Apache-2.0
// A load generator for proxies: N connections over TCP or a unix socket, each with one GET in
// flight, for a number of seconds. One thread, epoll, as little work per answer as it takes to know
// where it ends. A server that closes after its answer costs a new connection, which is part of
// what is measured. Prints one JSON object.
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace {

using Clock = std::chrono::steady_clock;

struct Options {
  std::string unix_path;
  std::uint16_t port = 0;  // on 127.0.0.1
  std::string request;
  unsigned connections = 32;
  double seconds = 5;
  double warm_up = 0.5;
  bool fresh = false;
};

struct Totals {
  std::uint64_t answers = 0, errors = 0, connects = 0, body_bytes = 0;
  std::vector<std::uint32_t> microseconds;
};

[[noreturn]] void die(const char* what) {
  std::perror(what);
  std::exit(2);
}

struct Connection {
  int fd = -1;
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
  }

  Totals run() {
    for (std::size_t i = 0; i < connections_.size(); ++i) open(i);
    const auto start = Clock::now();
    run_until(start + std::chrono::duration_cast<Clock::duration>(
                          std::chrono::duration<double>(options_.warm_up)));
    totals_ = {};
    measured_from_ = Clock::now();
    run_until(measured_from_ + std::chrono::duration_cast<Clock::duration>(
                                   std::chrono::duration<double>(options_.seconds)));
    measured_ = std::chrono::duration<double>(Clock::now() - measured_from_).count();
    return std::move(totals_);
  }
  [[nodiscard]] double measured() const { return measured_; }

 private:
  void run_until(Clock::time_point end) {
    std::array<epoll_event, 64> events{};
    while (Clock::now() < end) {
      const int count = ::epoll_wait(poll_, events.data(), events.size(), 100);
      for (int i = 0; i < count; ++i)
        readable(static_cast<std::size_t>(events[static_cast<std::size_t>(i)].data.u64));
    }
  }

  int connected_socket() const {
    if (options_.unix_path.empty()) {
      const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
      sockaddr_in address{};
      address.sin_family = AF_INET;
      address.sin_port = htons(options_.port);
      address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
      const int on = 1;
      ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
      if (::connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) die("connect");
      return fd;
    }
    const int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    options_.unix_path.copy(address.sun_path, sizeof address.sun_path - 1);
    if (::connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) die("connect");
    return fd;
  }

  void open(std::size_t index) {
    Connection& connection = connections_[index];
    if (connection.fd >= 0) ::close(connection.fd);
    connection.fd = connected_socket();
    ++totals_.connects;
    ::fcntl(connection.fd, F_SETFL, O_NONBLOCK);
    connection.input.clear();
    connection.left.reset();
    epoll_event event{.events = EPOLLIN, .data = {.u64 = index}};
    if (::epoll_ctl(poll_, EPOLL_CTL_ADD, connection.fd, &event) != 0) die("epoll_ctl");
    send_request(index);
  }

  void send_request(std::size_t index) {
    Connection& connection = connections_[index];
    connection.sent = Clock::now();
    const auto& request = options_.request;
    if (::send(connection.fd, request.data(), request.size(), MSG_NOSIGNAL) !=
        static_cast<ssize_t>(request.size())) {
      failed(index);
    }
  }

  void failed(std::size_t index) {
    ++totals_.errors;
    if (totals_.errors > 10'000) {
      std::fputs("more than 10000 errors\n", stderr);
      std::exit(2);
    }
    open(index);
  }

  void readable(std::size_t index) {
    Connection& connection = connections_[index];
    const ssize_t count = ::recv(connection.fd, buffer_.data(), buffer_.size(), 0);
    if (count < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (count <= 0) return failed(index);
    connection.input.append(buffer_.data(), static_cast<std::size_t>(count));
    if (!connection.left && !read_head(connection)) return;
    const std::uint64_t part = std::min<std::uint64_t>(*connection.left, connection.input.size());
    *connection.left -= part;
    totals_.body_bytes += part;
    connection.input.erase(0, part);
    if (*connection.left == 0) answered(index);
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
    totals_.microseconds.push_back(static_cast<std::uint32_t>(
        std::chrono::duration_cast<std::chrono::microseconds>(Clock::now() - connection.sent)
            .count()));
    connection.left.reset();
    if (connection.close_after || options_.fresh) return open(index);
    send_request(index);
  }

  const Options& options_;
  int poll_;
  std::vector<Connection> connections_;
  std::array<char, 65536> buffer_{};
  Totals totals_;
  Clock::time_point measured_from_;
  double measured_ = 0;
};

[[noreturn]] void usage() {
  std::fputs(
      "usage: bench_load (--unix PATH | --port N) --url URL [--connections 32] [--seconds 5]\n"
      "                  [--fresh yes]\n"
      "  URL in absolute form goes to a proxy, one that starts with / to an origin.\n"
      "  --fresh yes: a new connection for each request, for a server that closes without a "
      "word.\n",
      stderr);
  std::exit(2);
}

Options parse(int argc, char** argv) {
  Options options;
  std::string url;
  for (int i = 1; i + 1 < argc; i += 2) {
    const std::string_view name = argv[i];
    const char* value = argv[i + 1];
    if (name == "--unix") {
      options.unix_path = value;
    } else if (name == "--port") {
      options.port = static_cast<std::uint16_t>(std::atoi(value));
    } else if (name == "--url") {
      url = value;
    } else if (name == "--connections") {
      options.connections = static_cast<unsigned>(std::atoi(value));
    } else if (name == "--seconds") {
      options.seconds = std::atof(value);
    } else if (name == "--fresh") {
      options.fresh = std::string_view(value) == "yes";
    } else {
      usage();
    }
  }
  if (url.empty() || argc % 2 == 0 || (options.unix_path.empty() && options.port == 0)) usage();
  std::string host = "localhost";
  if (const auto at = url.find("://"); at != std::string::npos)
    host = url.substr(at + 3, url.find('/', at + 3) - at - 3);
  options.request = "GET " + url + " HTTP/1.1\r\nHost: " + host + "\r\nAccept: */*\r\n" +
                    (options.fresh ? "Connection: close\r\n\r\n" : "\r\n");
  return options;
}

std::uint32_t percentile(const std::vector<std::uint32_t>& sorted, double share) {
  if (sorted.empty()) return 0;
  return sorted[static_cast<std::size_t>(share * static_cast<double>(sorted.size() - 1))];
}

}  // namespace

int main(int argc, char** argv) {
  const Options options = parse(argc, argv);
  Load load(options);
  Totals totals = load.run();
  auto& latencies = totals.microseconds;
  std::ranges::sort(latencies);
  std::printf(
      "{\"requests_per_second\": %.0f, \"bytes_per_second\": %.0f, \"answers\": %llu, "
      "\"errors\": %llu, \"connects\": %llu, \"p50_us\": %u, \"p99_us\": %u}\n",
      static_cast<double>(totals.answers) / load.measured(),
      static_cast<double>(totals.body_bytes) / load.measured(),
      static_cast<unsigned long long>(totals.answers),
      static_cast<unsigned long long>(totals.errors),
      static_cast<unsigned long long>(totals.connects), percentile(latencies, 0.5),
      percentile(latencies, 0.99));
  return 0;
}
