// SPDX-License-Identifier: Apache-2.0
#include "vhost/backend.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "base/log.h"
#include "sys/unix_socket.h"
#include "vhost/seal.h"

namespace pinhole::vhost {
namespace {

enum class Expected { listener, connected, either };

/// An inherited descriptor made ours: a socket, close-on-exec and non-blocking.
Result<Fd> adopt(std::string_view option, int number, Expected expected, bool* listens = nullptr) {
  int value = 0;
  socklen_t size = sizeof(value);
  if (::getsockopt(number, SOL_SOCKET, SO_ACCEPTCONN, &value, &size) != 0) {
    return fail("{} {}: {}", option, number, errno_text(errno));
  }
  Fd fd(number);
  if (expected == Expected::listener && value == 0) {
    return fail("{} {}: it does not listen", option, number);
  }
  if (expected == Expected::connected && value != 0) {
    return fail("{} {}: it listens, where a connected socket is wanted", option, number);
  }
  if (listens != nullptr) *listens = value != 0;
  const int flags = ::fcntl(number, F_GETFL);
  if (flags < 0 || ::fcntl(number, F_SETFL, flags | O_NONBLOCK) != 0 ||
      ::fcntl(number, F_SETFD, FD_CLOEXEC) != 0) {
    return fail("{} {}: {}", option, number, errno_text(errno));
  }
  return fd;
}

}  // namespace

Backend::Backend(std::unique_ptr<sys::EventLoop> loop, const Options& options)
    : loop_(std::move(loop)),
      cid_(options.cid),
      once_(options.once),
      host_(*loop_, options.ports),
      muxer_(options.cid, host_),
      device_(*loop_, muxer_) {}

Backend::~Backend() {
  for (const auto& path : made_) ::unlink(path.c_str());
}

Result<std::unique_ptr<Backend>> Backend::start(const Options& options) {
  PINHOLE_TRY(auto loop, sys::EventLoop::make());
  std::unique_ptr<Backend> backend(new Backend(std::move(loop), options));
  PINHOLE_TRY_VOID(backend->open_base(options));
  PINHOLE_TRY_VOID(backend->open_socket(options));
  PINHOLE_TRY_VOID(backend->open_control(options));
  Backend* self = backend.get();
  self->loop_->set_turn([self] { return self->turn(); },
                        [self]() -> std::optional<vsock::TimePoint> {
                          const auto a = self->device_.next_deadline();
                          const auto b = self->host_.next_deadline();
                          return a && b ? std::min(*a, *b) : a ? a : b;
                        });
  return backend;
}

Result<void> Backend::seal() {
  made_.clear();
  return vhost::seal();
}

Result<Fd> Backend::listen_at(const std::filesystem::path& path) {
  PINHOLE_TRY(Fd listener, sys::listen_unix(path));
  made_.push_back(path);
  return listener;
}

Result<void> Backend::open_base(const Options& options) {
  Fd listener;
  if (options.base_fd) {
    PINHOLE_TRY(listener, adopt("--base-fd", *options.base_fd, Expected::listener));
  } else {
    PINHOLE_TRY(listener, listen_at(options.base));
  }
  return host_.start(muxer_, std::move(listener), [this] { return device_.running(); });
}

Result<void> Backend::open_socket(const Options& options) {
  bool listens = true;
  Fd socket;
  if (options.vhost_fd) {
    PINHOLE_TRY(socket, adopt("--vhost-fd", *options.vhost_fd, Expected::connected, &listens));
  } else if (options.socket_fd) {
    PINHOLE_TRY(socket, adopt("--socket-fd", *options.socket_fd, Expected::either, &listens));
  } else {
    PINHOLE_TRY(socket, listen_at(options.socket));
  }
  if (!listens) {
    once_ = true;  // there is nowhere a second one could come from
    serve(std::move(socket));
    return {};
  }
  listener_ = std::move(socket);
  PINHOLE_TRY(listener_watch_,
              loop_->watch(listener_.get(), [this](sys::Ready) { accept_frontend(); }));
  return {};
}

Result<void> Backend::open_control(const Options& options) {
  if (!options.control_fd) return {};
  PINHOLE_TRY(Fd socket, adopt("--control-fd", *options.control_fd, Expected::connected));
  const auto ended = [this](std::string_view why) {
    if (!why.empty()) log(LogLevel::error, "the supervisor said what it never says: {}", why);
    loop_->stop();
  };
  PINHOLE_TRY(control_, ControlChannel::start(
                            *loop_, std::move(socket), [this] { return muxer_.stats(); }, ended));
  return {};
}

void Backend::accept_frontend() {
  while (true) {
    Fd socket(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (!socket && errno != EINTR && errno != ECONNABORTED) return;
    if (!socket) continue;
    // The one before may have gone in the same moment.
    if (frontend_ && !frontend_ended_) frontend_->on_ready();
    if (frontend_ && !frontend_ended_) {
      device_.complain("a second front-end is turned away");
      continue;
    }
    frontend_.reset();
    serve(std::move(socket));
  }
}

void Backend::serve(Fd socket) {
  frontend_ended_ = false;
  auto started =
      Frontend::start(*loop_, std::move(socket), device_, cid_, [this] { frontend_ended_ = true; });
  if (!started) {
    device_.complain(started.error().message);
    return;
  }
  frontend_ = std::move(*started);
}

bool Backend::turn() {
  if (frontend_ended_) {
    frontend_ended_ = false;
    frontend_.reset();
    if (once_) loop_->stop();
  }
  const auto now = std::chrono::steady_clock::now();
  host_.on_time(now);
  device_.on_time(now);
  if (frontend_ && frontend_->has_more()) frontend_->on_ready();
  if (control_ && control_->has_more()) control_->on_ready();
  bool more = device_.process(now);
  more |= frontend_ended_ || (frontend_ && frontend_->has_more());
  more |= control_ && control_->has_more();
  return more;
}

}  // namespace pinhole::vhost
