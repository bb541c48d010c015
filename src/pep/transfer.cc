// SPDX-License-Identifier: Apache-2.0
#include "pep/transfer.h"

#include <curl/curl.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <cstring>
#include <iterator>

#include <fmt/format.h>

#include "base/check.h"

namespace pinhole::pep {
namespace {

bool is_tls_failure(CURLcode code) {
  switch (static_cast<int>(code)) {
    case CURLE_SSL_CONNECT_ERROR:
    case CURLE_SSL_ENGINE_NOTFOUND:
    case CURLE_SSL_ENGINE_SETFAILED:
    case CURLE_SSL_CERTPROBLEM:
    case CURLE_SSL_CIPHER:
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_ENGINE_INITFAILED:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_SSL_SHUTDOWN_FAILED:
    case CURLE_SSL_CRL_BADFILE:
    case CURLE_SSL_ISSUER_ERROR:
    case CURLE_SSL_PINNEDPUBKEYNOTMATCH:
    case CURLE_SSL_INVALIDCERTSTATUS:
    case CURLE_SSL_CLIENTCERT:
      return true;
    default:
      return false;
  }
}

std::string_view failure_code(CURLcode code) {
  if (code == CURLE_OPERATION_TIMEDOUT) return "timeout";  // only the connect timeout is libcurl's
  if (code == CURLE_COULDNT_CONNECT) return "connect_error";
  return is_tls_failure(code) ? "tls_error" : "upstream_error";
}

/// True when `address` is exactly where we may go.
bool same_endpoint(const sockaddr* address, const http::Endpoint& expected) {
  const auto& bytes = expected.address.bytes;
  if (address->sa_family == AF_INET && !expected.address.is_v6) {
    const auto* in = reinterpret_cast<const sockaddr_in*>(address);
    return ntohs(in->sin_port) == expected.port && std::memcmp(&in->sin_addr, bytes.data(), 4) == 0;
  }
  if (address->sa_family == AF_INET6 && expected.address.is_v6) {
    const auto* in = reinterpret_cast<const sockaddr_in6*>(address);
    return ntohs(in->sin6_port) == expected.port &&
           std::memcmp(&in->sin6_addr, bytes.data(), 16) == 0;
  }
  return false;
}

}  // namespace

void HeaderLines::clear() {
  text_.clear();
  starts_.clear();
}

void HeaderLines::add(std::string_view name, std::string_view value) {
  starts_.push_back(text_.size());
  text_ += name;
  // libcurl's spelling of a header without a value.
  if (value.empty()) {
    text_ += ';';
  } else {
    text_.append(": ").append(value);
  }
  text_ += '\0';
}

void HeaderLines::suppress(std::string_view name) {
  starts_.push_back(text_.size());
  text_.append(name).append(1, ':').append(1, '\0');
}

const curl_slist* HeaderLines::list() {
  nodes_.resize(starts_.size());
  for (std::size_t i = 0; i < starts_.size(); ++i) {
    nodes_[i] = {.data = text_.data() + starts_[i],
                 .next = i + 1 < starts_.size() ? &nodes_[i + 1] : nullptr};
  }
  return nodes_.empty() ? nullptr : nodes_.data();
}

Transfer::Transfer(CurlDriver& driver, TransferListener& listener)
    : driver_(driver), listener_(listener), easy_(curl_easy_init()), connect_to_(new curl_slist{}) {
  PINHOLE_CHECK(easy_ != nullptr);
  set_fixed_options();
}

Transfer::~Transfer() {
  cancel();
  curl_easy_cleanup(easy_);
}

void Transfer::set_fixed_options() {
  static_assert(CURL_ERROR_SIZE <= 256);
  const auto set = [this](CURLoption option, auto value) {
    PINHOLE_CHECK(curl_easy_setopt(easy_, option, value) == CURLE_OK);
  };
  set(CURLOPT_PRIVATE, this);
  set(CURLOPT_ERRORBUFFER, error_.data());
  set(CURLOPT_NOSIGNAL, 1L);
  set(CURLOPT_PROXY, "");  // libcurl would read *_proxy from the environment
  set(CURLOPT_NOPROXY, "*");
  set(CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);  // an upstream proxy's own answer
  set(CURLOPT_PROTOCOLS_STR, "http,https");
  set(CURLOPT_REDIR_PROTOCOLS_STR, "http,https");
  set(CURLOPT_FOLLOWLOCATION, 0L);
  set(CURLOPT_NETRC, static_cast<long>(CURL_NETRC_IGNORED));
  set(CURLOPT_HTTP09_ALLOWED, 0L);
  // By ALPN over TLS, so never where the other side did not say so.
  set(CURLOPT_HTTP_VERSION, static_cast<long>(CURL_HTTP_VERSION_2TLS));
  set(CURLOPT_HTTP_CONTENT_DECODING, 0L);
  set(CURLOPT_PATH_AS_IS, 1L);
  set(CURLOPT_TCP_KEEPALIVE, 1L);
  set(CURLOPT_BUFFERSIZE, 64L * 1024);
  set(CURLOPT_UPLOAD_BUFFERSIZE, 64L * 1024);
  set(CURLOPT_SSL_VERIFYPEER, 1L);
  set(CURLOPT_SSL_VERIFYHOST, 2L);
  set(CURLOPT_SSLVERSION, static_cast<long>(CURL_SSLVERSION_TLSv1_2));
  // The trust store comes by on_ssl_context(), loaded once for all connections.
  set(CURLOPT_CAINFO, static_cast<const char*>(nullptr));
  set(CURLOPT_CAPATH, static_cast<const char*>(nullptr));
  set(CURLOPT_SSL_CTX_FUNCTION, &Transfer::on_ssl_context);
  set(CURLOPT_SSL_CTX_DATA, this);
  set(CURLOPT_HEADERFUNCTION, &Transfer::on_header);
  set(CURLOPT_HEADERDATA, this);
  set(CURLOPT_WRITEFUNCTION, &Transfer::on_write);
  set(CURLOPT_WRITEDATA, this);
  set(CURLOPT_READFUNCTION, &Transfer::on_read);
  set(CURLOPT_READDATA, this);
  set(CURLOPT_PREREQFUNCTION, &Transfer::on_prerequest);
  set(CURLOPT_PREREQDATA, this);
  set(CURLOPT_OPENSOCKETFUNCTION, &Transfer::on_open_socket);
  set(CURLOPT_OPENSOCKETDATA, this);
  set(CURLOPT_CLOSESOCKETFUNCTION, &CurlDriver::close_socket);
  set(CURLOPT_CLOSESOCKETDATA, &driver_);
}

void Transfer::start(const TransferRequest& request) {
  PINHOLE_CHECK(!running_);
  endpoint_ = request.connect_to;
  trust_ = request.trust;
  error_[0] = '\0';
  connected_ = download_paused_ = upload_paused_ = false;

  // The path travels in CURLOPT_REQUEST_TARGET, so that libcurl's URL parser has nothing to
  // interpret.
  url_.clear();
  fmt::format_to(std::back_inserter(url_), "{}://{}:{}/", request.tls ? "https" : "http",
                 request.host, request.port);
  curl_easy_setopt(easy_, CURLOPT_URL, url_.c_str());
  set_way(request);
  curl_easy_setopt(easy_, CURLOPT_CONNECTTIMEOUT_MS,
                   static_cast<long>(request.connect_timeout.count()));
  set_body_options(request);
  curl_easy_setopt(easy_, CURLOPT_HTTPHEADER, request.headers->list());
  running_ = true;
  driver_.add(easy_);
}

/// Straight to the address, or through the upstream proxy: of https by CONNECT, with TLS inside; of
/// http in absolute form.
void Transfer::set_way(const TransferRequest& request) {
  target_ = request.target;
  if (request.via_proxy) {
    if (!request.tls) target_.insert(0, url_, 0, url_.size() - 1);
    connect_to_text_ = "http://" + http::to_string(endpoint_);
    curl_easy_setopt(easy_, CURLOPT_PROXY, connect_to_text_.c_str());
    curl_easy_setopt(easy_, CURLOPT_NOPROXY, "");
  } else {
    connect_to_text_.clear();
    connect_to_text_.append("::").append(http::to_string(endpoint_));
    *connect_to_ = {.data = connect_to_text_.data(), .next = nullptr};
    curl_easy_setopt(easy_, CURLOPT_PROXY, "");
    curl_easy_setopt(easy_, CURLOPT_NOPROXY, "*");
  }
  curl_easy_setopt(easy_, CURLOPT_CONNECT_TO, request.via_proxy ? nullptr : connect_to_.get());
  curl_easy_setopt(easy_, CURLOPT_HTTPPROXYTUNNEL, request.via_proxy && request.tls ? 1L : 0L);
  curl_easy_setopt(easy_, CURLOPT_REQUEST_TARGET, target_.c_str());
}

void Transfer::set_body_options(const TransferRequest& request) {
  method_ = request.method;
  curl_easy_setopt(easy_, CURLOPT_HTTPGET, 1L);  // also forgets an earlier NOBODY or UPLOAD
  const bool plain_head = method_ == "HEAD" && !request.has_body;
  if (plain_head) curl_easy_setopt(easy_, CURLOPT_NOBODY, 1L);
  if (request.has_body) {
    const curl_off_t length =
        request.body_length ? static_cast<curl_off_t>(*request.body_length) : -1;
    curl_easy_setopt(easy_, CURLOPT_UPLOAD, 1L);
    curl_easy_setopt(easy_, CURLOPT_INFILESIZE_LARGE, length);
  }
  const bool own_word = plain_head || (method_ == "GET" && !request.has_body);
  curl_easy_setopt(easy_, CURLOPT_CUSTOMREQUEST, own_word ? nullptr : method_.c_str());
}

void Transfer::resume_download() {
  if (!running_ || !std::exchange(download_paused_, false)) return;
  curl_easy_pause(easy_, upload_paused_ ? CURLPAUSE_SEND : CURLPAUSE_CONT);
}

void Transfer::resume_upload() {
  if (!running_ || !std::exchange(upload_paused_, false)) return;
  curl_easy_pause(easy_, download_paused_ ? CURLPAUSE_RECV : CURLPAUSE_CONT);
}

void Transfer::cancel() {
  if (std::exchange(running_, false)) driver_.remove(easy_);
}

void Transfer::finish(int curl_code) {
  running_ = false;
  if (curl_code == CURLE_OK) return listener_.on_done(std::nullopt);
  const auto code = static_cast<CURLcode>(curl_code);
  const std::string text = error_[0] != '\0' ? error_.data() : curl_easy_strerror(code);
  listener_.on_done(
      TransferFailure{.code = std::string(failure_code(code)),
                      .message = text,
                      .before_connection = !connected_ && code == CURLE_COULDNT_CONNECT});
}

std::size_t Transfer::on_header(char* data, std::size_t size, std::size_t count, void* self) {
  auto& transfer = *static_cast<Transfer*>(self);
  return transfer.listener_.on_head_line({data, size * count}) ? size * count : 0;
}

std::size_t Transfer::on_write(char* data, std::size_t size, std::size_t count, void* self) {
  auto& transfer = *static_cast<Transfer*>(self);
  const BodyTaken taken = transfer.listener_.on_body({data, size * count});
  if (taken == BodyTaken::taken) return size * count;
  if (taken == BodyTaken::refused) return CURL_WRITEFUNC_ERROR;
  transfer.download_paused_ = true;
  return CURL_WRITEFUNC_PAUSE;
}

std::size_t Transfer::on_read(char* room, std::size_t size, std::size_t count, void* self) {
  auto& transfer = *static_cast<Transfer*>(self);
  const UploadChunk chunk = transfer.listener_.on_upload({room, size * count});
  switch (chunk.state) {
    case UploadState::data:
      return chunk.size;
    case UploadState::end:
      return 0;
    case UploadState::abort:
      return CURL_READFUNC_ABORT;
    case UploadState::wait:
      break;
  }
  transfer.upload_paused_ = true;
  return CURL_READFUNC_PAUSE;
}

int Transfer::on_prerequest(void* self, char* remote, char* /*local*/, int remote_port,
                            int /*local_port*/) {
  auto& transfer = *static_cast<Transfer*>(self);
  // The last look before a byte goes out, for reused connections too.
  if (http::parse_ip(remote) != transfer.endpoint_.address ||
      remote_port != transfer.endpoint_.port) {
    return CURL_PREREQFUNC_ABORT;
  }
  transfer.connected_ = true;
  transfer.listener_.on_connected();
  return CURL_PREREQFUNC_OK;
}

int Transfer::on_open_socket(void* self, int purpose, curl_sockaddr* address) {
  const auto& transfer = *static_cast<Transfer*>(self);
  if (purpose != CURLSOCKTYPE_IPCXN || !same_endpoint(&address->addr, transfer.endpoint_))
    return CURL_SOCKET_BAD;
  return ::socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
}

int Transfer::on_ssl_context(void* /*easy*/, void* context, void* self) {
  const auto& transfer = *static_cast<Transfer*>(self);
  if (transfer.trust_ == nullptr) return CURLE_SSL_CERTPROBLEM;
  transfer.trust_->use_in(context);
  return CURLE_OK;
}

}  // namespace pinhole::pep
