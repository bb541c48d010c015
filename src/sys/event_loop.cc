// SPDX-License-Identifier: Apache-2.0
#include "sys/event_loop.h"

#include <sys/epoll.h>
#include <sys/signalfd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <utility>

namespace pinhole::sys {

Watch::Watch(Watch&& other) noexcept
    : loop_(std::exchange(other.loop_, nullptr)), fd_(other.fd_), id_(other.id_) {}

Watch& Watch::operator=(Watch&& other) noexcept {
  if (this != &other) {
    stop();
    loop_ = std::exchange(other.loop_, nullptr);
    fd_ = other.fd_;
    id_ = other.id_;
  }
  return *this;
}

void Watch::stop() {
  if (loop_ == nullptr) return;
  ::epoll_ctl(loop_->epoll_.get(), EPOLL_CTL_DEL, fd_, nullptr);
  loop_->handlers_.erase(id_);
  loop_ = nullptr;
}

Result<std::unique_ptr<EventLoop>> EventLoop::make() {
  std::unique_ptr<EventLoop> loop(new EventLoop);
  loop->epoll_ = Fd(::epoll_create1(EPOLL_CLOEXEC));
  if (!loop->epoll_) return fail("cannot create an epoll instance: {}", errno_text(errno));
  return loop;
}

Result<Watch> EventLoop::watch(int fd, Handler handler) {
  const std::uint64_t id = next_id_++;
  epoll_event event{};
  event.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET;
  event.data.u64 = id;
  if (::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event) != 0) {
    return fail("cannot watch a descriptor: {}", errno_text(errno));
  }
  handlers_[id] = std::make_shared<Handler>(std::move(handler));
  return Watch(*this, fd, id);
}

void EventLoop::set_turn(std::function<bool()> work,
                         std::function<std::optional<Clock::time_point>()> next_time) {
  work_ = std::move(work);
  next_time_ = std::move(next_time);
  more_work_ = true;
}

Result<void> EventLoop::stop_on_signals() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGTERM);
  sigaddset(&set, SIGINT);
  if (::sigprocmask(SIG_BLOCK, &set, nullptr) != 0) {
    return fail("cannot block signals: {}", errno_text(errno));
  }
  signals_ = Fd(::signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK));
  if (!signals_) return fail("cannot create a signal descriptor: {}", errno_text(errno));
  PINHOLE_TRY(signals_watch_, watch(signals_.get(), [this](Ready) { stop(); }));
  return {};
}

void EventLoop::run() {
  while (!stopping_) turn(more_work_ ? 0 : wait_ms());
}

void EventLoop::run_once(std::chrono::milliseconds limit) {
  const int longest = static_cast<int>(limit.count());
  const int wait = wait_ms();
  turn(more_work_ ? 0 : wait < 0 ? longest : std::min(wait, longest));
}

int EventLoop::wait_ms() const {
  if (!next_time_) return -1;
  const auto time = next_time_();
  if (!time) return -1;
  // Rounded up, or the last millisecond would be spent in turns that are too early.
  const auto left = std::chrono::ceil<std::chrono::milliseconds>(*time - Clock::now());
  return static_cast<int>(std::clamp<std::chrono::milliseconds::rep>(left.count(), 0, 60'000));
}

void EventLoop::turn(int wait_ms) {
  std::array<epoll_event, 64> events;
  const int count = ::epoll_wait(epoll_.get(), events.data(), events.size(), wait_ms);
  for (int i = 0; i < count; ++i) {
    const epoll_event& event = events[static_cast<std::size_t>(i)];
    const std::uint64_t id = event.data.u64;  // a copy: epoll_event is packed
    const auto found = handlers_.find(id);
    if (found == handlers_.end()) continue;
    // A copy: the handler may end its own watch.
    const std::shared_ptr<Handler> handler = found->second;
    (*handler)(Ready{.readable = (event.events & (EPOLLIN | EPOLLRDHUP | EPOLLERR)) != 0,
                     .writable = (event.events & (EPOLLOUT | EPOLLERR)) != 0,
                     .hung_up = (event.events & EPOLLHUP) != 0});
    if (stopping_) return;
  }
  more_work_ = work_ && work_();
}

}  // namespace pinhole::sys
