// SPDX-License-Identifier: Apache-2.0
#include "pep/guest.h"

namespace pinhole::pep {

void Guest::consume(std::size_t count) {
  used_ += count;
  if (used_ == filled_) used_ = filled_ = 0;
}

asio::awaitable<bool> Guest::read_more() {
  if (used_ > 0) {
    buffer_.erase(0, used_);
    filled_ -= used_;
    used_ = 0;
  }
  // Room without filling it with zeros first.
  if (buffer_.size() < filled_ + kReadSize) {
    buffer_.resize_and_overwrite(filled_ + kReadSize, [](char*, std::size_t size) { return size; });
  }
  auto [error, count] = co_await socket_.async_read_some(
      asio::buffer(buffer_.data() + filled_, buffer_.size() - filled_), as_result);
  if (error || count == 0) co_return false;
  filled_ += count;
  touch();
  co_return true;
}

asio::awaitable<bool> Guest::write(std::string_view bytes) {
  while (!bytes.empty()) {
    auto [error, count] =
        co_await socket_.async_write_some(asio::buffer(bytes.data(), bytes.size()), as_result);
    if (error) co_return false;
    bytes.remove_prefix(count);
    touch();
  }
  co_return true;
}

void Guest::shutdown_send() {
  error_code ignored;
  socket_.shutdown(asio::local::stream_protocol::socket::shutdown_send, ignored);
}

void Guest::cancel_waits() {
  error_code ignored;
  socket_.cancel(ignored);
}

void Guest::close() {
  error_code ignored;
  socket_.close(ignored);
}

}  // namespace pinhole::pep
