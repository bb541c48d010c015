// SPDX-License-Identifier: Apache-2.0
#include "pep/h2_harness.h"

#include <gtest/gtest.h>
#include <sys/socket.h>

#include "sys/files.h"
#include "yaml/yaml.h"

namespace pinhole::pep::testing {
namespace {

policy::Policy compile(const std::string& text) {
  std::vector<policy::Layer> layers;
  layers.push_back(
      {.kind = policy::LayerKind::user, .document = yaml::parse(text, "policy.yaml").value()});
  return policy::Policy::compile(std::move(layers), {}).value();
}

std::uint8_t* bytes(const std::string& text) {
  return const_cast<std::uint8_t*>(reinterpret_cast<const std::uint8_t*>(text.data()));
}

}  // namespace

H2Door::H2Door(const std::string& policy, Times times, std::optional<Inside> inside,
               std::string_view token) {
  policy::Policy rules = compile(policy);
  AuditLog log = AuditLog::open(folder_.path() / "audit.jsonl",
                                {.vm = "t", .boot = "b", .image = "", .policy = rules.hash()})
                     .value();
  door_ = std::make_unique<Door>(context_, std::move(rules), std::move(log), times);
  if (!token.empty()) door_->token = ProxyToken::make(token).value();
  int ends[2];
  EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
  peer_ = Fd(ends[1]);
  guest_ = std::make_unique<Connection>(
      Connection::Socket(context_, asio::generic::stream_protocol(AF_UNIX, 0), ends[0]));
  session_ = std::make_unique<H2Session>(*door_, *guest_, std::move(inside));
  asio::co_spawn(context_, session_->run(), [this](const std::exception_ptr& thrown) {
    EXPECT_EQ(thrown, nullptr);
    ended_ = true;
    context_.stop();
  });
  thread_ = std::thread([this] { context_.run(); });
}

void H2Door::in_thread(std::function<void(H2Session&)> step) {
  asio::post(context_, [this, step = std::move(step)] { step(*session_); });
}

void H2Door::stop() {
  if (!thread_.joinable()) return;
  in_thread([](H2Session& session) { session.close(); });
  thread_.join();
}

std::string H2Door::audit_text() {
  stop();
  return sys::read_file(folder_.path() / "audit.jsonl", std::uint64_t{16} << 20).value();
}

std::string Reply::header(std::string_view name) const {
  const std::string* value = http::find_header(headers, name);
  return value == nullptr ? "" : *value;
}

struct H2Peer::Callbacks {
  static H2Peer& of(void* peer) { return *static_cast<H2Peer*>(peer); }
  static int on_header(nghttp2_session*, const nghttp2_frame* frame, const std::uint8_t* name,
                       std::size_t name_size, const std::uint8_t* value, std::size_t value_size,
                       std::uint8_t, void* peer) {
    Reply& reply = of(peer).replies[frame->hd.stream_id];
    http::Header field{.name = {reinterpret_cast<const char*>(name), name_size},
                       .value = {reinterpret_cast<const char*>(value), value_size}};
    if (field.name == ":status") {
      reply.status = std::stoi(field.value);
    } else if (frame->headers.cat == NGHTTP2_HCAT_HEADERS && !reply.body.empty()) {
      reply.trailers.push_back(std::move(field));
    } else {
      reply.headers.push_back(std::move(field));
    }
    return 0;
  }
  static int on_data(nghttp2_session*, std::uint8_t, std::int32_t id, const std::uint8_t* data,
                     std::size_t size, void* peer) {
    of(peer).replies[id].body.append(reinterpret_cast<const char*>(data), size);
    return 0;
  }
  static int on_close(nghttp2_session*, std::int32_t id, std::uint32_t error, void* peer) {
    of(peer).replies[id].closed = true;
    of(peer).replies[id].error = error;
    return 0;
  }
  static int on_frame(nghttp2_session*, const nghttp2_frame* frame, void* peer) {
    if (frame->hd.type == NGHTTP2_GOAWAY) of(peer).goaway = frame->goaway.error_code;
    return 0;
  }
  static ssize_t on_read(nghttp2_session*, std::int32_t, std::uint8_t* room, std::size_t size,
                         std::uint32_t* flags, nghttp2_data_source* source, void*) {
    auto* upload = static_cast<Upload*>(source->ptr);
    const std::size_t count = std::min(size, upload->body.size() - upload->sent);
    upload->body.copy(reinterpret_cast<char*>(room), count, upload->sent);
    upload->sent += count;
    if (upload->sent == upload->body.size()) *flags |= NGHTTP2_DATA_FLAG_EOF;
    return static_cast<ssize_t>(count);
  }
};

H2Peer::H2Peer(Peer peer) : peer_(std::move(peer)) {
  nghttp2_session_callbacks* calls = nullptr;
  nghttp2_session_callbacks_new(&calls);
  nghttp2_session_callbacks_set_on_header_callback(calls, &Callbacks::on_header);
  nghttp2_session_callbacks_set_on_data_chunk_recv_callback(calls, &Callbacks::on_data);
  nghttp2_session_callbacks_set_on_stream_close_callback(calls, &Callbacks::on_close);
  nghttp2_session_callbacks_set_on_frame_recv_callback(calls, &Callbacks::on_frame);
  nghttp2_option* options = nullptr;
  nghttp2_option_new(&options);
  nghttp2_option_set_max_send_header_block_length(options, std::size_t{1} << 20);
  nghttp2_session_client_new2(&wire_, calls, this, options);
  nghttp2_option_del(options);
  nghttp2_session_callbacks_del(calls);
  const nghttp2_settings_entry settings[] = {{NGHTTP2_SETTINGS_ENABLE_PUSH, 0}};
  nghttp2_submit_settings(wire_, NGHTTP2_FLAG_NONE, settings, 1);
}

std::int32_t H2Peer::submit(const Fields& fields, const std::string* body) {
  std::vector<nghttp2_nv> nv;
  for (const auto& [name, value] : fields) {
    nv.push_back({.name = bytes(name),
                  .value = bytes(value),
                  .namelen = name.size(),
                  .valuelen = value.size(),
                  .flags = NGHTTP2_NV_FLAG_NONE});
  }
  uploads_.emplace_back(body != nullptr ? *body : "", 0);
  nghttp2_data_provider provider{.source = {.ptr = &uploads_.back()},
                                 .read_callback = &Callbacks::on_read};
  return nghttp2_submit_request(wire_, nullptr, nv.data(), nv.size(),
                                body != nullptr ? &provider : nullptr, nullptr);
}

bool H2Peer::pump(const std::function<bool()>& done) {
  while (true) {
    if (!send_pending()) return done();
    if (done()) return true;
    const std::string piece = peer_.read_some();
    if (piece.empty()) return done();
    if (nghttp2_session_mem_recv(wire_, bytes(piece), piece.size()) < 0) return done();
  }
}

bool H2Peer::send_pending() {
  while (true) {
    const std::uint8_t* out = nullptr;
    const ssize_t count = nghttp2_session_mem_send(wire_, &out);
    if (count <= 0) return count == 0;
    if (!peer_.send({reinterpret_cast<const char*>(out), static_cast<std::size_t>(count)}))
      return false;
  }
}

Reply H2Peer::ask(const Fields& fields, const std::string* body) {
  const std::int32_t id = submit(fields, body);
  pump([&] { return replies[id].closed; });
  return replies[id];
}

void H2Peer::read_to_end() {
  pump([] { return false; });
}

Fields h2_request(std::string_view method, std::string_view path, const Fields& more) {
  Fields fields{{":method", std::string(method)},
                {":scheme", "http"},
                {":authority", "origin.test"},
                {":path", std::string(path)}};
  fields.insert(fields.end(), more.begin(), more.end());
  return fields;
}

std::string h2_frame(std::uint8_t type, std::uint8_t flags, std::uint32_t stream,
                     std::string_view payload) {
  const auto length = static_cast<std::uint32_t>(payload.size());
  std::string out;
  for (const int shift : {16, 8, 0}) out += static_cast<char>(length >> shift & 0xFF);
  out += static_cast<char>(type);
  out += static_cast<char>(flags);
  for (const int shift : {24, 16, 8, 0}) out += static_cast<char>(stream >> shift & 0xFF);
  return out.append(payload);
}

std::string h2_preface() {
  return "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + h2_frame(NGHTTP2_SETTINGS, 0, 0, "");
}

}  // namespace pinhole::pep::testing
