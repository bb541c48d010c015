// SPDX-License-Identifier: Apache-2.0
#include "vhost/control.h"

#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <utility>

namespace pinhole::vhost {

std::string stats_line(const vsock::MuxerStats& stats) {
  return fmt::format(
      "{{\"connections\":{},\"half_open\":{},\"buffered_bytes\":{},\"opened\":{},\"reset\":{},"
      "\"limited\":{}}}\n",
      stats.connections, stats.half_open, stats.buffered, stats.opened, stats.reset, stats.limited);
}

Result<std::unique_ptr<ControlChannel>> ControlChannel::start(sys::EventLoop& loop, Fd socket,
                                                              Stats stats, Ended ended) {
  std::unique_ptr<ControlChannel> channel(
      new ControlChannel(std::move(socket), std::move(stats), std::move(ended)));
  ControlChannel* self = channel.get();
  PINHOLE_TRY(channel->watch_,
              loop.watch(self->socket_.get(), [self](sys::Ready) { self->on_ready(); }));
  return channel;
}

void ControlChannel::on_ready() {
  answers_ = 0;
  has_more_ = false;
  while (!over_) {
    if (!write_answer() || !answer_lines()) return;
    if (answer_.empty() && !read_some()) return;
  }
}

/// True when nothing is left to write.
bool ControlChannel::write_answer() {
  while (!answer_.empty()) {
    const ssize_t count =
        ::send(socket_.get(), answer_.data(), answer_.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0 && errno == EAGAIN) return false;
    if (count < 0) return end("");
    answer_.erase(0, static_cast<std::size_t>(count));
  }
  return true;
}

/// Takes at most one line. False when the turn is over or the line is none of ours.
bool ControlChannel::answer_lines() {
  constexpr std::string_view kQuestion = "stats\n";
  const std::string_view text(bytes_.data(), have_);
  const std::size_t newline = text.find('\n');
  if (newline == text.npos) {
    return have_ < bytes_.size() ? true : end("a line without an end");
  }
  if (text.substr(0, newline + 1) != kQuestion) return end("not a question that it knows");
  if (answers_ == kAnswersPerTurn) {
    has_more_ = true;
    return false;
  }
  ++answers_;
  std::copy(bytes_.begin() + kQuestion.size(), bytes_.begin() + have_, bytes_.begin());
  have_ -= kQuestion.size();
  answer_ = stats_line(stats_());
  return true;
}

/// True when something came.
bool ControlChannel::read_some() {
  const ssize_t count =
      ::recv(socket_.get(), bytes_.data() + have_, bytes_.size() - have_, MSG_DONTWAIT);
  if (count < 0 && errno == EINTR) return true;
  if (count < 0 && errno == EAGAIN) return false;
  if (count <= 0) return end("");
  have_ += static_cast<std::size_t>(count);
  return true;
}

bool ControlChannel::end(std::string_view why) {
  over_ = true;
  has_more_ = false;
  watch_.stop();
  socket_.reset();
  ended_(why);
  return false;
}

}  // namespace pinhole::vhost
