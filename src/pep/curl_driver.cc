// SPDX-License-Identifier: Apache-2.0
#include "pep/curl_driver.h"

#include <curl/curl.h>
#include <unistd.h>

#include "base/check.h"
#include "pep/transfer.h"

namespace pinhole::pep {

CurlDriver::CurlDriver(asio::io_context& context) : context_(context), timer_(context) {
  PINHOLE_CHECK(curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK);
  multi_ = curl_multi_init();
  PINHOLE_CHECK(multi_ != nullptr);
  curl_multi_setopt(multi_, CURLMOPT_SOCKETFUNCTION, &CurlDriver::on_socket);
  curl_multi_setopt(multi_, CURLMOPT_SOCKETDATA, this);
  curl_multi_setopt(multi_, CURLMOPT_TIMERFUNCTION, &CurlDriver::on_timer);
  curl_multi_setopt(multi_, CURLMOPT_TIMERDATA, this);
  curl_multi_setopt(multi_, CURLMOPT_PIPELINING, CURLPIPE_NOTHING);
  curl_multi_setopt(multi_, CURLMOPT_MAXCONNECTS, kIdleConnections);
}

CurlDriver::~CurlDriver() {
  *alive_ = false;
  curl_multi_cleanup(multi_);
  curl_global_cleanup();
}

void CurlDriver::add(void* easy) {
  // It asks for its first turn by on_timer(): all that came in this turn of the loop start together
  // there, and origins are woken once for several requests instead of for each.
  PINHOLE_CHECK(curl_multi_add_handle(multi_, easy) == CURLM_OK);
}

void CurlDriver::remove(void* easy) { curl_multi_remove_handle(multi_, easy); }

int CurlDriver::on_socket(void* /*easy*/, int fd, int what, void* self, void* /*unused*/) {
  auto& driver = *static_cast<CurlDriver*>(self);
  const auto index = static_cast<std::size_t>(fd);
  if (driver.watches_.size() <= index) driver.watches_.resize(index + 1);
  auto& watch = driver.watches_[index];
  if (!watch && what == CURL_POLL_REMOVE) return 0;
  if (!watch) {
    watch = std::make_shared<FdWatch>(driver.context_, fd, [&driver](int ready_fd, Ready ready) {
      driver.act(ready_fd, ready == Ready::read    ? CURL_CSELECT_IN
                           : ready == Ready::write ? CURL_CSELECT_OUT
                                                   : CURL_CSELECT_ERR);
    });
  }
  // After CURL_POLL_REMOVE the connection usually goes to libcurl's cache: the registration stays
  // for its next use.
  watch->want(what == CURL_POLL_IN || what == CURL_POLL_INOUT,
              what == CURL_POLL_OUT || what == CURL_POLL_INOUT);
  return 0;
}

int CurlDriver::close_socket(void* self, int fd) {
  auto& driver = *static_cast<CurlDriver*>(self);
  const auto index = static_cast<std::size_t>(fd);
  if (index < driver.watches_.size() && driver.watches_[index]) {
    driver.watches_[index]->stop();
    driver.watches_[index].reset();
  }
  return ::close(fd);
}

int CurlDriver::on_timer(void* /*multi*/, long milliseconds, void* self) {
  auto& driver = *static_cast<CurlDriver*>(self);
  if (milliseconds < 0) {
    driver.timer_.cancel();
    return 0;
  }
  if (milliseconds == 0) {
    if (std::exchange(driver.kick_posted_, true)) return 0;
    asio::post(driver.context_, [&driver, alive = driver.alive_] {
      if (*alive && driver.kick_posted_) driver.act_on_timeout();
    });
    return 0;
  }
  driver.timer_.expires_after(std::chrono::milliseconds(milliseconds));
  driver.timer_.async_wait([&driver, alive = driver.alive_](error_code error) {
    if (!error && *alive) driver.act_on_timeout();
  });
  return 0;
}

void CurlDriver::act(int fd, int events) {
  int running = 0;
  curl_multi_socket_action(multi_, fd, events, &running);
  finish_done();
}

void CurlDriver::act_on_timeout() {
  kick_posted_ = false;
  act(CURL_SOCKET_TIMEOUT, 0);
}

void CurlDriver::finish_done() {
  int left = 0;
  while (const CURLMsg* message = curl_multi_info_read(multi_, &left)) {
    if (message->msg != CURLMSG_DONE) continue;
    CURL* easy = message->easy_handle;
    const CURLcode result = message->data.result;  // gone after the handle is removed
    Transfer* transfer = nullptr;
    curl_easy_getinfo(easy, CURLINFO_PRIVATE, &transfer);
    curl_multi_remove_handle(multi_, easy);
    transfer->finish(result);
  }
}

}  // namespace pinhole::pep
