// SPDX-License-Identifier: Apache-2.0
// One HTTP exchange with an origin, through libcurl, at an address that was checked before. libcurl
// itself never resolves, redirects, stores or decodes anything; a connection is reused only for the
// same name, port, address and scheme, because all four are in libcurl's key (CURLOPT_CONNECT_TO).
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <curl/curl.h>

#include "base/error.h"
#include "http/address.h"
#include "pep/curl_driver.h"
#include "tls/trust_store.h"

namespace pinhole::pep {

/// Header lines for libcurl: "Name: value", kept in one buffer.
class HeaderLines {
 public:
  void clear();
  void add(std::string_view name, std::string_view value);
  /// Keeps libcurl from sending a header of its own.
  void suppress(std::string_view name);
  /// Valid until the next change.
  const curl_slist* list();

 private:
  std::string text_;
  std::vector<std::size_t> starts_;
  std::vector<curl_slist> nodes_;
};

/// What to ask. Views must live until the transfer is done. Everything comes from the parsed,
/// decided request.
struct TransferRequest {
  bool tls = false;
  std::string_view host;  // normalised; an IPv6 literal in brackets
  std::uint16_t port = 0;
  http::Endpoint connect_to;  // the checked address: the one place that a connection may lead to
  bool via_proxy = false;     // `connect_to` is the upstream proxy's, which makes the connection
  std::string_view method;
  std::string_view target;  // origin-form: path and query
  HeaderLines* headers = nullptr;
  bool has_body = false;
  std::optional<std::uint64_t> body_length = {};  // none with has_body: chunked
  const tls::TrustStore* trust = nullptr;         // with tls
  std::chrono::milliseconds connect_timeout{10'000};
};

/// How an upload goes on.
enum class UploadState { data, wait, end, abort };
struct UploadChunk {
  UploadState state = UploadState::wait;
  std::size_t size = 0;
};

/// `later`: the same bytes come again after resume_download().
enum class BodyTaken { taken, later, refused };

/// Why a transfer failed; nothing on success. `code` is one of policy.md's.
struct TransferFailure {
  std::string code;
  std::string message;
  bool before_connection = false;  // nothing was sent: another address may be tried
};

/// Called from inside libcurl: implementations take note and return; they must not touch the
/// Transfer.
class TransferListener {
 public:
  virtual ~TransferListener() = default;
  /// A connection (new or reused) to the checked address is up; the request is sent next.
  virtual void on_connected() = 0;
  /// A line of a response's head with its line end; an empty line ends it. False aborts.
  virtual bool on_head_line(std::string_view line) = 0;
  virtual BodyTaken on_body(std::string_view bytes) = 0;
  virtual UploadChunk on_upload(std::span<char> room) = 0;
  /// Nothing is called after this.
  virtual void on_done(const std::optional<TransferFailure>& failure) = 0;
};

/// A reusable exchange slot. The owner keeps it, its request's texts and the listener alive until
/// on_done() or cancel().
class Transfer {
 public:
  Transfer(CurlDriver& driver, TransferListener& listener);
  ~Transfer();
  Transfer(const Transfer&) = delete;
  Transfer& operator=(const Transfer&) = delete;

  void start(const TransferRequest& request);
  void resume_download();
  void resume_upload();
  /// Ends it now, without on_done(); its connection is closed.
  void cancel();
  [[nodiscard]] bool running() const { return running_; }

 private:
  friend class CurlDriver;
  void finish(int curl_code);
  void set_fixed_options();
  void set_way(const TransferRequest& request);
  void set_body_options(const TransferRequest& request);
  static std::size_t on_header(char* data, std::size_t size, std::size_t count, void* self);
  static std::size_t on_write(char* data, std::size_t size, std::size_t count, void* self);
  static std::size_t on_read(char* room, std::size_t size, std::size_t count, void* self);
  static int on_prerequest(void* self, char* remote, char* local, int remote_port, int local_port);
  static int on_open_socket(void* self, int purpose, curl_sockaddr* address);
  static int on_ssl_context(void* easy, void* context, void* self);

  CurlDriver& driver_;
  TransferListener& listener_;
  void* easy_;
  http::Endpoint endpoint_;
  const tls::TrustStore* trust_ = nullptr;
  std::string url_;
  std::string connect_to_text_;
  std::unique_ptr<curl_slist> connect_to_;
  std::string method_;
  std::string target_;
  std::array<char, 256> error_ = {};  // CURL_ERROR_SIZE
  bool running_ = false;
  bool connected_ = false;
  bool download_paused_ = false;
  bool upload_paused_ = false;
};

}  // namespace pinhole::pep
