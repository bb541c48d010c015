// SPDX-License-Identifier: Apache-2.0
// The first and only process of the benchmark's guest: loads the drivers, brings eth0 up, and then
// does what the host asks for on a virtio-serial port, one line each:
//   send|receive|echo  vsock|tcp|serial  BYTES
// `send` connects to the host (vsock port 5001; tcp 10.0.2.2 at the port that the kernel's command
// line names as bench.port) and sends; `receive` and `echo` take a connection to port 5002. The
// serial way is another virtio-serial port. `receive` ends with one byte back, once all has come.
#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/vm_sockets.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>

namespace {

constexpr std::uint16_t kHostPort = 5001, kGuestPort = 5002;
std::array<char, 65536> buffer;

[[noreturn]] void die(const char* what) {
  std::printf("bench guest: %s: %s\n", what, std::strerror(errno));
  std::fflush(stdout);
  ::reboot(RB_POWER_OFF);
  std::exit(1);
}

void load_modules() {
  std::FILE* order = std::fopen("/modules/order", "re");
  if (order == nullptr) die("/modules/order");
  std::array<char, 256> line{};
  while (std::fgets(line.data(), line.size(), order) != nullptr) {
    std::string path(line.data());
    while (!path.empty() && path.back() == '\n') path.pop_back();
    const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (fd < 0 || ::syscall(SYS_finit_module, fd, "", 0) != 0) die(path.c_str());
    ::close(fd);
  }
  std::fclose(order);
}

void set_address() {
  const int fd = ::socket(AF_INET, SOCK_DGRAM, 0);
  ifreq request{};
  std::strcpy(request.ifr_name, "eth0");
  auto* address = reinterpret_cast<sockaddr_in*>(&request.ifr_addr);
  address->sin_family = AF_INET;
  ::inet_pton(AF_INET, "10.0.2.15", &address->sin_addr);
  if (::ioctl(fd, SIOCSIFADDR, &request) != 0) die("eth0: address");
  ::inet_pton(AF_INET, "255.255.255.0", &address->sin_addr);
  if (::ioctl(fd, SIOCSIFNETMASK, &request) != 0) die("eth0: mask");
  request.ifr_flags = IFF_UP | IFF_RUNNING;
  if (::ioctl(fd, SIOCSIFFLAGS, &request) != 0) die("eth0: up");
  ::close(fd);
}

std::uint16_t tcp_port_of_host() {
  const int fd = ::open("/proc/cmdline", O_RDONLY | O_CLOEXEC);
  std::string words(4096, '\0');
  words.resize(static_cast<std::size_t>(std::max<ssize_t>(::read(fd, words.data(), 4096), 0)));
  ::close(fd);
  const auto at = words.find("bench.port=");
  return at == std::string::npos ? 0
                                 : static_cast<std::uint16_t>(std::atoi(words.c_str() + at + 11));
}

sockaddr_vm vsock_address(unsigned cid, unsigned port) {
  sockaddr_vm address{};
  address.svm_family = AF_VSOCK;
  address.svm_cid = cid;
  address.svm_port = port;
  return address;
}

sockaddr_in tcp_address(const char* host, std::uint16_t port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  ::inet_pton(AF_INET, host, &address.sin_addr);
  return address;
}

/// As Pinhole's agent does (src/agent/endpoint.cc): Linux has no more of a vsock stream under way
/// than its own buffer holds, 256 KiB unless told. TCP finds its size by itself.
void widen_window(int fd, sa_family_t family) {
  constexpr unsigned long long kWindow = 1024 * 1024;
  if (family != AF_VSOCK) return;
  for (const int option : {SO_VM_SOCKETS_BUFFER_MAX_SIZE, SO_VM_SOCKETS_BUFFER_SIZE}) {
    if (::setsockopt(fd, AF_VSOCK, option, &kWindow, sizeof kWindow) != 0) die("buffer size");
  }
}

template <typename Address>
int listener(Address address) {
  const sa_family_t family = reinterpret_cast<sockaddr&>(address).sa_family;
  const int fd = ::socket(family, SOCK_STREAM, 0);
  widen_window(fd, family);
  if (::bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0 ||
      ::listen(fd, 16) != 0)
    die("listen");
  return fd;
}

template <typename Address>
int connected(Address address) {
  const sa_family_t family = reinterpret_cast<sockaddr&>(address).sa_family;
  const int fd = ::socket(family, SOCK_STREAM, 0);
  widen_window(fd, family);
  if (::connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) die("connect");
  return fd;
}

void write_all(int fd, const char* bytes, std::size_t size) {
  while (size > 0) {
    const ssize_t count = ::write(fd, bytes, size);
    if (count <= 0) die("write");
    bytes += count;
    size -= static_cast<std::size_t>(count);
  }
}

void send_bytes(int fd, std::uint64_t left) {
  while (left > 0) {
    const auto part = std::min<std::uint64_t>(left, buffer.size());
    write_all(fd, buffer.data(), part);
    left -= part;
  }
}

void receive_bytes(int fd, std::uint64_t left) {
  while (left > 0) {
    const ssize_t count = ::read(fd, buffer.data(), std::min<std::uint64_t>(left, buffer.size()));
    if (count <= 0) die("read");
    left -= static_cast<std::uint64_t>(count);
  }
  write_all(fd, "k", 1);
}

/// 64 bytes there and back, until `left` bytes have come.
void echo_bytes(int fd, std::uint64_t left) {
  while (left > 0) {
    const ssize_t count = ::read(fd, buffer.data(), 64);
    if (count <= 0) die("read");
    write_all(fd, buffer.data(), static_cast<std::size_t>(count));
    left -= static_cast<std::uint64_t>(count);
  }
}

/// The virtio-serial port of this name; the driver makes it a moment after it was loaded.
int open_port(std::string_view wanted) {
  constexpr int kTries = 1000, kStepMs = 10;  // sysfs has no event of its own for this
  const std::filesystem::path ports("/sys/class/virtio-ports");
  for (int tries = 0; tries < kTries; ++tries) {
    std::error_code none;
    for (const auto& entry : std::filesystem::directory_iterator(ports, none)) {
      std::string name;
      std::ifstream(entry.path() / "name") >> name;
      const auto path = "/dev" / entry.path().filename();
      if (name == wanted) return ::open(path.c_str(), O_RDWR | O_CLOEXEC);
    }
    ::poll(nullptr, 0, kStepMs);
  }
  return -1;
}

class Guest {
 public:
  Guest()
      : tcp_port_(tcp_port_of_host()),
        vsock_(listener(vsock_address(VMADDR_CID_ANY, kGuestPort))),
        tcp_(listener(tcp_address("0.0.0.0", kGuestPort))),
        serial_(open_port("data")) {
    if (serial_ < 0) die("virtio-serial port data");
  }

  void obey(std::string_view what, std::string_view way, std::uint64_t bytes) const {
    const int fd = way == "serial"  ? serial_
                   : what == "send" ? connect_out(way)
                                    : ::accept(way == "vsock" ? vsock_ : tcp_, nullptr, nullptr);
    if (fd < 0) die("accept");
    const int on = 1;
    if (way == "tcp") ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (what == "send") send_bytes(fd, bytes);
    if (what == "receive") receive_bytes(fd, bytes);
    if (what == "echo") echo_bytes(fd, bytes);
    if (fd != serial_) ::close(fd);
  }

 private:
  [[nodiscard]] int connect_out(std::string_view way) const {
    if (way == "vsock") return connected(vsock_address(VMADDR_CID_HOST, kHostPort));
    return connected(tcp_address("10.0.2.2", tcp_port_));
  }

  std::uint16_t tcp_port_;
  int vsock_, tcp_, serial_;
};

}  // namespace

int main() {
  ::mkdir("/dev", 0755);
  ::mkdir("/proc", 0755);
  ::mkdir("/sys", 0755);
  ::mount("dev", "/dev", "devtmpfs", 0, nullptr);
  ::mount("proc", "/proc", "proc", 0, nullptr);
  ::mount("sys", "/sys", "sysfs", 0, nullptr);
  const int console = ::open("/dev/console", O_RDWR);
  ::dup2(console, 1);
  load_modules();
  set_address();
  const int control = open_port("control");
  if (control < 0) die("virtio-serial port control");
  const Guest guest;
  write_all(control, "ready\n", 6);
  std::string input;
  while (true) {
    std::array<char, 256> text{};
    const ssize_t count = ::read(control, text.data(), text.size());
    if (count <= 0) break;
    input.append(text.data(), static_cast<std::size_t>(count));
    for (std::size_t end; (end = input.find('\n')) != std::string::npos;) {
      std::array<char, 32> what{}, way{};
      unsigned long long bytes = 0;
      if (std::sscanf(input.c_str(), "%31s %31s %llu", what.data(), way.data(), &bytes) == 3)
        guest.obey(what.data(), way.data(), bytes);
      input.erase(0, end + 1);
    }
  }
  ::reboot(RB_POWER_OFF);
}
