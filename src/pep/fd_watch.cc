// SPDX-License-Identifier: Apache-2.0
#include "pep/fd_watch.h"

#include <utility>

namespace pinhole::pep {

using Wait = asio::posix::stream_descriptor::wait_type;

FdWatch::FdWatch(asio::io_context& context, int fd, Callback callback)
    : descriptor_(context, fd), fd_(fd), callback_(std::move(callback)) {}

FdWatch::~FdWatch() { stop(); }

void FdWatch::want(bool read, bool write) {
  if (stopped_) return;
  read_.wanted = read;
  write_.wanted = write;
  arm(read_, asio::posix::stream_descriptor::wait_read, Ready::read);
  arm(write_, asio::posix::stream_descriptor::wait_write, Ready::write);
}

void FdWatch::stop() {
  if (std::exchange(stopped_, true)) return;
  descriptor_.release();  // not closed: it is not ours
}

void FdWatch::arm(Direction& direction, Wait type, Ready ready) {
  if (!direction.wanted || direction.armed || stopped_) return;
  direction.armed = true;
  descriptor_.async_wait(type,
                         [self = shared_from_this(), &direction, type, ready](error_code error) {
                           self->on_ready(direction, type, ready, error);
                         });
}

void FdWatch::on_ready(Direction& direction, Wait type, Ready ready, const error_code& error) {
  direction.armed = false;
  if (stopped_ || !direction.wanted) return;
  callback_(fd_, error ? Ready::error : ready);
  arm(direction, type, ready);
}

}  // namespace pinhole::pep
