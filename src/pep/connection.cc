// SPDX-License-Identifier: Apache-2.0
#include "pep/connection.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "pep/buffer.h"

namespace pinhole::pep {

/// The socket as TLS sees it, with what was read before TLS began in front.
class Connection::SocketTransport final : public tls::Transport {
 public:
  SocketTransport(Socket& socket, std::string_view first) : socket_(socket), first_(first) {}

  std::ptrdiff_t receive(std::span<char> room) override {
    if (!first_.empty()) {
      const std::size_t count = std::min(room.size(), first_.size());
      std::memcpy(room.data(), first_.data(), count);
      first_.erase(0, count);
      if (first_.empty()) free_buffer(first_);
      return static_cast<std::ptrdiff_t>(count);
    }
    error_code error;
    const std::size_t count = socket_.receive(asio::buffer(room.data(), room.size()), 0, error);
    return outcome(count, error);
  }

  std::ptrdiff_t send(std::string_view bytes) override {
    error_code error;
    const std::size_t count = socket_.send(asio::buffer(bytes.data(), bytes.size()), 0, error);
    return outcome(count, error);
  }

  [[nodiscard]] bool holds_bytes() const { return !first_.empty(); }

 private:
  static std::ptrdiff_t outcome(std::size_t count, error_code error) {
    if (error == asio::error::would_block || error == asio::error::try_again) return -1;
    if (error == asio::error::eof) return 0;
    if (error) return -2;
    return static_cast<std::ptrdiff_t>(count);
  }

  Socket& socket_;
  std::string first_;
};

Connection::Connection(Socket socket) : socket_(std::move(socket)) {
  error_code ignored;
  socket_.non_blocking(true, ignored);  // TLS reads and writes by itself
}

Connection::~Connection() = default;

void Connection::consume(std::size_t count) {
  used_ += count;
  if (used_ == filled_) used_ = filled_ = 0;
}

void Connection::release_buffer() {
  if (used_ == filled_) {
    free_buffer(buffer_);
    used_ = filled_ = 0;
  }
}

void Connection::make_room() {
  if (used_ > 0) {
    buffer_.erase(0, used_);
    filled_ -= used_;
    used_ = 0;
  }
  // Room without filling it with zeros first.
  if (buffer_.size() < filled_ + kReadSize) {
    buffer_.resize_and_overwrite(filled_ + kReadSize, [](char*, std::size_t size) { return size; });
  }
}

asio::awaitable<bool> Connection::read_more() {
  // No memory while nothing comes.
  const bool holds = tls_ && (tls_->pending() || transport_->holds_bytes());
  if (buffer_.empty() && !holds) {
    auto [error] = co_await socket_.async_wait(Socket::wait_read, as_result);
    if (error) co_return false;
  }
  make_room();
  bool came = false;
  if (tls_) {
    came = co_await read_tls();
  } else {
    came = co_await read_plain();
  }
  if (came) touch();
  co_return came;
}

asio::awaitable<bool> Connection::read_plain() {
  auto [error, count] = co_await socket_.async_read_some(
      asio::buffer(buffer_.data() + filled_, buffer_.size() - filled_), as_result);
  ended_ = error == asio::error::eof;
  if (error || count == 0) co_return false;
  filled_ += count;
  co_return true;
}

asio::awaitable<bool> Connection::read_tls() {
  while (true) {
    std::size_t count = 0;
    const tls::Status status =
        tls_->read(std::span(buffer_).subspan(filled_, buffer_.size() - filled_), count);
    filled_ += count;
    if (count > 0) co_return true;
    ended_ = status == tls::Status::closed;
    const bool again = co_await wait_for(status);
    if (!again) co_return false;
  }
}

/// Until TLS can go on; false when it never can.
asio::awaitable<bool> Connection::wait_for(tls::Status status) {
  if (status != tls::Status::want_read && status != tls::Status::want_write) co_return false;
  const auto direction = status == tls::Status::want_read ? Socket::wait_read : Socket::wait_write;
  auto [error] = co_await socket_.async_wait(direction, as_result);
  co_return !error;
}

asio::awaitable<bool> Connection::write(std::string_view bytes) {
  while (!bytes.empty()) {
    std::size_t count = 0;
    if (tls_) {
      const tls::Status status = tls_->write(bytes, count);
      if (count == 0) {
        const bool again = co_await wait_for(status);
        if (!again) co_return false;
        continue;
      }
    } else {
      auto [error, written] =
          co_await socket_.async_write_some(asio::buffer(bytes.data(), bytes.size()), as_result);
      if (error) co_return false;
      count = written;
    }
    bytes.remove_prefix(count);
    touch();
  }
  co_return true;
}

tls::Transport& Connection::transport() {
  transport_ = std::make_unique<SocketTransport>(socket_, input());
  free_buffer(buffer_);
  used_ = filled_ = 0;
  return *transport_;
}

asio::awaitable<bool> Connection::start_tls(tls::Stream stream) {
  tls_ = std::make_unique<tls::Stream>(std::move(stream));
  while (true) {
    const tls::Status status = tls_->handshake();
    touch();
    if (status == tls::Status::ok) co_return true;
    const bool again = co_await wait_for(status);
    if (!again) co_return false;
  }
}

std::string Connection::alpn() const { return tls_ ? tls_->alpn() : ""; }
std::string Connection::tls_error() const { return tls_ ? tls_->error() : ""; }
bool Connection::truncated() const { return tls_ && tls_->truncated(); }

void Connection::shutdown_send() {
  if (tls_) [[maybe_unused]]
    const auto told = tls_->shutdown();
  error_code ignored;
  socket_.shutdown(Socket::shutdown_send, ignored);
}

void Connection::cancel_waits() {
  error_code ignored;
  socket_.cancel(ignored);
}

void Connection::reset() {
  error_code ignored;
  if (socket_.is_open()) socket_.set_option(asio::socket_base::linger(true, 0), ignored);
  socket_.close(ignored);
}

void Connection::close() {
  error_code ignored;
  socket_.close(ignored);
}

}  // namespace pinhole::pep
