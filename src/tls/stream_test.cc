// SPDX-License-Identifier: Apache-2.0
#include "tls/stream.h"

#include <algorithm>
#include <array>
#include <optional>

#include <gtest/gtest.h>

#include "tls/certificate.h"
#include "tls/connection.h"

namespace pinhole::tls {
namespace {

using Names = std::vector<std::string>;

/// One direction of a connection in memory.
struct Pipe {
  std::string bytes = {};
  bool closed = false;
  std::size_t room = std::size_t{64} << 10;
};

class End : public Transport {
 public:
  End(Pipe& in, Pipe& out) : in_(in), out_(out) {}
  std::ptrdiff_t receive(std::span<char> room) override {
    if (in_.bytes.empty()) return in_.closed ? kEnd : kWouldBlock;
    const std::size_t count = std::min(room.size(), in_.bytes.size());
    std::copy_n(in_.bytes.begin(), count, room.begin());
    in_.bytes.erase(0, count);
    return static_cast<std::ptrdiff_t>(count);
  }
  std::ptrdiff_t send(std::string_view bytes) override {
    if (out_.closed) return kError;
    const std::size_t count = std::min(bytes.size(), out_.room - out_.bytes.size());
    if (count == 0) return kWouldBlock;
    out_.bytes += bytes.substr(0, count);
    return static_cast<std::ptrdiff_t>(count);
  }

 private:
  Pipe& in_;
  Pipe& out_;
};

struct Line {
  Pipe up, down;
  End client_end{down, up};
  End server_end{up, down};
};

Server make_server(ServerLimits limits = {}) {
  return Server(*Authority::create("test"), std::move(limits));
}
TrustStore trusting(const Server& server) {
  return *TrustStore::host_and(server.authority().certificate_pem());
}

struct Statuses {
  Status client = Status::want_read;
  Status server = Status::want_read;
  bool operator==(const Statuses&) const = default;
};
constexpr Statuses kBothOk = {Status::ok, Status::ok};

bool waits(Status status) { return status == Status::want_read || status == Status::want_write; }

Statuses shake(Stream& client, Stream& server) {
  Statuses now;
  for (int round = 0; round < 100 && (waits(now.client) || waits(now.server)); ++round) {
    if (waits(now.client)) now.client = client.handshake();
    if (waits(now.server)) now.server = server.handshake();
  }
  return now;
}

std::string read_all_there_is(Stream& stream, Status& last) {
  std::string all;
  std::array<char, 5000> room;
  std::size_t count = 0;
  while ((last = stream.read(room, count)) == Status::ok) all.append(room.data(), count);
  return all;
}

/// Everything from one to the other.
std::string carry(Stream& from, Stream& to, std::string_view text) {
  std::string arrived;
  Status last = Status::want_read;
  while (!text.empty()) {
    std::size_t count = 0;
    const Status status = from.write(text, count);
    EXPECT_TRUE(status == Status::ok || status == Status::want_write);
    text.remove_prefix(count);
    if (status != Status::ok) arrived += read_all_there_is(to, last);
  }
  return arrived + read_all_there_is(to, last);
}

/// A client of another kind, with what ours does not offer.
struct RawClient {
  Wire wire;
  SslContextPtr context = make_context(TLS_client_method());
  SslPtr ssl;

  explicit RawClient(Transport& transport, const char* ciphers = nullptr, int version = 0)
      : wire{.transport = &transport} {
    if (ciphers != nullptr) EXPECT_EQ(SSL_CTX_set_cipher_list(context.get(), ciphers), 1);
    if (version != 0) {
      SSL_CTX_set_min_proto_version(context.get(), version);
      SSL_CTX_set_max_proto_version(context.get(), version);
    }
    ssl.reset(SSL_new(context.get()));
    BIO* bio = make_bio(wire).release();
    SSL_set_bio(ssl.get(), bio, bio);
    SSL_set_connect_state(ssl.get());
  }
  void shake(Stream& server) {
    Status status = Status::want_read;
    for (int round = 0; round < 10; ++round) {
      SSL_do_handshake(ssl.get());
      if (waits(status)) status = server.handshake();
    }
    EXPECT_EQ(status, Status::ok) << server.error();
  }
};

using Session = std::unique_ptr<SSL_SESSION, Free<SSL_SESSION_free>>;

/// A visit to `name` with an earlier session, where there is one; the session it ends with.
Session visit(Server& server, const std::string& name, bool is_ip, int version,
              const Session& earlier, bool& resumed) {
  Line line;
  auto stream = server.accept(name, is_ip, {}, line.server_end);
  RawClient client(line.client_end, nullptr, version);
  if (earlier) EXPECT_EQ(SSL_set_session(client.ssl.get(), earlier.get()), 1);
  client.shake(*stream);
  resumed = stream->resumed();
  EXPECT_EQ(resumed, SSL_session_reused(client.ssl.get()) == 1);
  char byte = 0;
  SSL_read(client.ssl.get(), &byte, 1);  // takes the ticket
  Session session(SSL_get1_session(client.ssl.get()));
  SSL_set_quiet_shutdown(client.ssl.get(), 1);
  SSL_shutdown(client.ssl.get());  // or OpenSSL calls the session not resumable
  return session;
}

std::string refusal(Server& server, const TrustStore& trust, const std::string& asked,
                    const std::string& answered, std::string* server_error = nullptr) {
  Line line;
  Client client;
  auto to = client.connect(trust, asked, false, {}, line.client_end);
  auto from = server.accept(answered, false, {}, line.server_end);
  const Statuses statuses = shake(*to, *from);
  EXPECT_EQ(statuses.client, Status::failed);
  // TLS 1.3's client is refused after the server is done.
  if (statuses.server == Status::ok) {
    std::array<char, 1> room;
    std::size_t count = 0;
    EXPECT_EQ(from->read(room, count), Status::failed);
  }
  if (server_error != nullptr) *server_error = from->error();
  return to->error();
}

class Streams : public testing::Test {
 protected:
  Server server_ = make_server();
  TrustStore trust_ = trusting(server_);
  Client client_;
  Line line_;
  std::optional<Stream> to_, from_;

  void open(const std::string& name = "a.example", bool is_ip = false, const Names& wanted = {},
            const Names& offered = {}) {
    line_.up = line_.down = Pipe();
    to_.emplace(*client_.connect(trust_, name, is_ip, wanted, line_.client_end));
    from_.emplace(*server_.accept(name, is_ip, offered, line_.server_end));
    ASSERT_EQ(shake(*to_, *from_), kBothOk) << to_->error() << from_->error();
  }
};

TEST_F(Streams, CarryAMebibyteBothWays) {
  open();
  EXPECT_EQ(to_->version(), "TLSv1.3");
  std::string text(std::size_t{1} << 20, '\0');
  for (std::size_t i = 0; i < text.size(); ++i) text[i] = static_cast<char>(i * 31 + i / 256);
  EXPECT_TRUE(carry(*to_, *from_, text) == text);
  EXPECT_TRUE(carry(*from_, *to_, text) == text);
  EXPECT_FALSE(to_->resumed());
}

TEST_F(Streams, VerifyNamesAddressesAndLongNames) {
  std::string longest;
  while (longest.size() + 50 < kLongestName) longest += std::string(49, 'a') + ".";
  longest += std::string(kLongestName - longest.size(), 'b');
  for (const std::string& name :
       {std::string("a.example"), longest, std::string("under_score.x")}) {
    SCOPED_TRACE(name);
    open(name);
  }
  for (const std::string& address : {"192.0.2.1", "2001:db8::1"}) {
    SCOPED_TRACE(address);
    open(address, true);
  }
  EXPECT_EQ(server_.accept(longest + "b", false, {}, line_.server_end).error().message,
            "no certificate can be made for that name");
  EXPECT_FALSE(server_.accept("", false, {}, line_.server_end));
  EXPECT_FALSE(server_.accept("a b", false, {}, line_.server_end));
  EXPECT_FALSE(server_.accept("not an address", true, {}, line_.server_end));
  EXPECT_FALSE(server_.accept("300.1.1.1", true, {}, line_.server_end));
  EXPECT_EQ(client_.connect(trust_, "", false, {}, line_.client_end).error().message,
            "there is no name to verify the certificate for");
  EXPECT_FALSE(client_.connect(trust_, "1.2.3", true, {}, line_.client_end));
}

TEST_F(Streams, AgreeOnTheServersFavouriteProtocol) {
  open("a.example", false, {"http/1.1", "h2"}, {"h2", "http/1.1"});
  EXPECT_EQ(to_->alpn(), "h2");
  EXPECT_EQ(from_->alpn(), "h2");
  open("a.example", false, {"http/1.1"}, {"h2", "http/1.1"});
  EXPECT_EQ(from_->alpn(), "http/1.1");
  open("a.example", false, {}, {"h2", "http/1.1"});
  EXPECT_EQ(from_->alpn(), "");
  open("a.example", false, {"h2"}, {});
  EXPECT_EQ(to_->alpn(), "");
}

TEST_F(Streams, RefuseAClientThatSpeaksNoneOfTheProtocols) {
  Stream to = *client_.connect(trust_, "a.example", false, Names{"h3"}, line_.client_end);
  Stream from = *server_.accept("a.example", false, Names{"h2", "http/1.1"}, line_.server_end);
  EXPECT_EQ(shake(to, from), (Statuses{Status::failed, Status::failed}));
  EXPECT_EQ(from.error(), "no application protocol");
  EXPECT_EQ(to.error(), "the peer ended the connection (no application protocol)");
}

TEST_F(Streams, TellAGoodbyeFromATruncation) {
  open();
  std::size_t count = 0;
  std::array<char, 10> room;
  EXPECT_EQ(to_->write("last", count), Status::ok);
  EXPECT_EQ(to_->shutdown(), Status::ok);
  EXPECT_EQ(to_->shutdown(), Status::ok);
  EXPECT_EQ(from_->read(room, count), Status::ok);
  EXPECT_EQ(std::string_view(room.data(), count), "last");
  EXPECT_EQ(from_->read(room, count), Status::closed);
  EXPECT_EQ(count, 0U);
  EXPECT_FALSE(from_->truncated());
  // The other direction goes on.
  EXPECT_EQ(carry(*from_, *to_, "still here"), "still here");
  line_.down.closed = true;
  EXPECT_EQ(to_->read(room, count), Status::closed);
  EXPECT_TRUE(to_->truncated());
  EXPECT_EQ(to_->read(room, count), Status::closed);
}

TEST_F(Streams, ReportABrokenTransport) {
  open();
  line_.up.closed = true;
  std::size_t count = 0;
  EXPECT_EQ(to_->write("x", count), Status::failed);
  EXPECT_EQ(to_->error(), "the connection broke");
  EXPECT_EQ(to_->write("x", count), Status::failed);
  EXPECT_EQ(to_->shutdown(), Status::failed);
}

TEST_F(Streams, SayWhatIsPending) {
  open();
  std::size_t count = 0;
  std::array<char, 2> room;
  EXPECT_FALSE(from_->pending());
  EXPECT_EQ(to_->write("abc", count), Status::ok);
  EXPECT_EQ(from_->read(room, count), Status::ok);
  EXPECT_EQ(count, 2U);
  EXPECT_TRUE(from_->pending());
  EXPECT_EQ(from_->read(room, count), Status::ok);
  EXPECT_FALSE(from_->pending());
  // Two records that come in one receive().
  EXPECT_EQ(to_->write("de", count), Status::ok);
  EXPECT_EQ(to_->write("fg", count), Status::ok);
  EXPECT_EQ(from_->read(room, count), Status::ok);
  EXPECT_TRUE(from_->pending());
  EXPECT_EQ(from_->read(room, count), Status::ok);
  EXPECT_EQ(from_->read(room, count), Status::want_read);
  // Half a record is nothing that reading helps.
  EXPECT_EQ(to_->write("hi", count), Status::ok);
  const std::string rest = line_.up.bytes.substr(10);
  line_.up.bytes.resize(10);
  EXPECT_EQ(from_->read(room, count), Status::want_read);
  EXPECT_FALSE(from_->pending());
  line_.up.bytes = rest;
  EXPECT_EQ(from_->read(room, count), Status::ok);
  EXPECT_EQ(std::string_view(room.data(), count), "hi");
}

TEST_F(Streams, HandshakeEndsWhenThePeerDoes) {
  Stream from = *server_.accept("a.example", false, {}, line_.server_end);
  EXPECT_EQ(from.handshake(), Status::want_read);
  line_.up.closed = true;
  EXPECT_EQ(from.handshake(), Status::closed);
  EXPECT_TRUE(from.truncated());
  EXPECT_EQ(from.shutdown(), Status::ok);
}

TEST_F(Streams, SayThatThePeerDoesNotSpeakTls) {
  Stream from = *server_.accept("a.example", false, {}, line_.server_end);
  line_.up.bytes = "GET / HTTP/1.1\r\n\r\n";
  EXPECT_EQ(from.handshake(), Status::failed);
  EXPECT_EQ(from.error(), "the peer does not speak TLS");
  EXPECT_EQ(from.handshake(), Status::failed);
}

TEST_F(Streams, EndAFloodOfKeyUpdates) {
  Stream from = *server_.accept("a.example", false, {}, line_.server_end);
  RawClient client(line_.client_end);
  client.shake(from);
  std::array<char, 10> room;
  std::size_t count = 0;
  Status status = Status::want_read;
  int updates = 0;
  for (; updates < 2 * kMostHandshakeMessages && status == Status::want_read; ++updates) {
    ASSERT_EQ(SSL_key_update(client.ssl.get(), SSL_KEY_UPDATE_NOT_REQUESTED), 1);
    ASSERT_EQ(SSL_do_handshake(client.ssl.get()), 1);
    status = from.read(room, count);
  }
  EXPECT_EQ(status, Status::failed);
  EXPECT_EQ(from.error(), "the peer sent too many handshake messages");
  EXPECT_GT(updates, kMostHandshakeMessages / 2);
}

int make_ticket_long(SSL* ssl, void* /*unused*/) {
  const std::string filling(2000, 'f');
  return SSL_SESSION_set1_ticket_appdata(SSL_get_session(ssl), filling.data(), filling.size());
}

TEST(PostHandshake, MessageThatComesByHalfIsThePeersToFinish) {
  const Authority authority = *Authority::create("x");
  const TrustStore trust = *TrustStore::host_and(authority.certificate_pem());
  const KeyPtr key = *make_key();
  const X509Ptr leaf =
      *mint_leaf(authority.parts(), key.get(), "a.example", false, std::time(nullptr));
  const SslContextPtr context = make_context(TLS_server_method());
  ASSERT_EQ(SSL_CTX_use_certificate(context.get(), leaf.get()), 1);
  ASSERT_EQ(SSL_CTX_use_PrivateKey(context.get(), key.get()), 1);
  // Tickets of more than a record each.
  ASSERT_EQ(SSL_CTX_set_max_send_fragment(context.get(), 512), 1);
  SSL_CTX_set_session_ticket_cb(context.get(), make_ticket_long, nullptr, nullptr);
  Line line;
  Wire wire{.transport = &line.server_end};
  const SslPtr server(SSL_new(context.get()));
  BIO* bio = make_bio(wire).release();
  SSL_set_bio(server.get(), bio, bio);
  Client client;
  Stream to = *client.connect(trust, "a.example", false, {}, line.client_end);
  for (int round = 0; round < 4 && to.handshake() != Status::ok; ++round) SSL_accept(server.get());
  SSL_accept(server.get());  // writes the tickets
  ASSERT_GT(line.down.bytes.size(), 2000U);

  std::string rest = std::exchange(line.down.bytes, "");
  std::array<char, 100> room;
  std::size_t count = 0;
  while (!rest.empty()) {  // record by record
    const auto byte = [&](std::size_t at) {
      return std::size_t{static_cast<std::uint8_t>(rest[at])};
    };
    const std::size_t size = 5 + (byte(3) << 8U) + byte(4);
    line.down.bytes = rest.substr(0, size);
    rest.erase(0, size);
    EXPECT_EQ(to.read(room, count), Status::want_read);
    const Status wrote = to.write("x", count);
    EXPECT_TRUE(wrote == Status::ok || wrote == Status::want_read);
  }
  ASSERT_EQ(to.write("done", count), Status::ok);
  ASSERT_EQ(SSL_write(server.get(), "hello", 5), 5);
  ASSERT_EQ(to.read(room, count), Status::ok) << to.error();
  EXPECT_EQ(std::string(room.data(), count), "hello");
}

TEST(Sessions, ResumeUnderTheirOwnNameOnly) {
  Server server = make_server();
  for (const int version : {TLS1_2_VERSION, TLS1_3_VERSION}) {
    SCOPED_TRACE(version);
    bool resumed = true;
    const Session first = visit(server, "a.example", false, version, nullptr, resumed);
    EXPECT_FALSE(resumed);
    visit(server, "a.example", false, version, first, resumed);
    EXPECT_TRUE(resumed);
    const Session again = visit(server, "a.example", false, version, nullptr, resumed);
    visit(server, "b.example", false, version, again, resumed);
    EXPECT_FALSE(resumed);
    const Session address = visit(server, "192.0.2.1", true, version, nullptr, resumed);
    visit(server, "192.0.2.1", false, version, address, resumed);
    EXPECT_FALSE(resumed);
  }
}

TEST(Ciphers, OldOnesAreRefused) {
  Server server = make_server();
  for (const char* good : {"ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-ECDSA-CHACHA20-POLY1305"}) {
    Line line;
    Stream from = *server.accept("a.example", false, {}, line.server_end);
    RawClient client(line.client_end, good, TLS1_2_VERSION);
    client.shake(from);
    EXPECT_EQ(from.version(), "TLSv1.2");
  }
  for (const char* bad : {"ECDHE-ECDSA-AES128-SHA", "AES128-GCM-SHA256"}) {
    SCOPED_TRACE(bad);
    Line line;
    Stream from = *server.accept("a.example", false, {}, line.server_end);
    RawClient client(line.client_end, bad, TLS1_2_VERSION);
    SSL_do_handshake(client.ssl.get());
    EXPECT_EQ(from.handshake(), Status::failed);
    EXPECT_EQ(from.error(), "no shared cipher");
  }
}

TEST(Verification, RefusesWithTheReason) {
  Server server = make_server();
  const TrustStore trust = trusting(server);
  std::string heard;
  EXPECT_EQ(refusal(server, trust, "a.example", "b.example", &heard), "hostname mismatch");
  EXPECT_EQ(heard, "the peer does not trust our certificate (bad certificate)");
  EXPECT_EQ(refusal(server, *TrustStore::host(), "a.example", "a.example", &heard),
            "unable to get local issuer certificate");
  EXPECT_EQ(heard, "the peer does not trust our certificate (unknown CA)");

  Server old(*Authority::load(server.authority().certificate_pem(), server.authority().key_pem()),
             {.now = [] { return std::time(nullptr) - std::time_t{100} * 86400; }});
  EXPECT_EQ(refusal(old, trust, "a.example", "a.example", &heard), "certificate has expired");
  EXPECT_EQ(heard, "the peer does not trust our certificate (certificate expired)");
  Server early(*Authority::load(server.authority().certificate_pem(), server.authority().key_pem()),
               {.now = [] { return std::time(nullptr) + std::time_t{2} * 86400; }});
  EXPECT_EQ(refusal(early, trust, "a.example", "a.example"), "certificate is not yet valid");
}

TEST(Verification, RefusesASelfSignedCertificate) {
  const Authority authority = *Authority::create("x");
  Line line;
  Client client;
  Stream to = *client.connect(*TrustStore::host(), "a.example", false, {}, line.client_end);
  const SslContextPtr context = make_context(TLS_server_method());
  ASSERT_EQ(SSL_CTX_use_certificate(context.get(), authority.parts().certificate.get()), 1);
  ASSERT_EQ(SSL_CTX_use_PrivateKey(context.get(), authority.parts().key.get()), 1);
  Wire wire{.transport = &line.server_end};
  const SslPtr server(SSL_new(context.get()));
  BIO* bio = make_bio(wire).release();
  SSL_set_bio(server.get(), bio, bio);
  EXPECT_EQ(to.handshake(), Status::want_read);
  SSL_accept(server.get());
  EXPECT_EQ(to.handshake(), Status::failed);
  EXPECT_EQ(to.error(), "self-signed certificate");
}

TEST(Leaves, AreKeptAndBounded) {
  std::time_t now = std::time(nullptr);
  Server server = make_server({.leaves = 2, .now = [&now] { return now; }});
  Client client;
  const TrustStore trust = trusting(server);
  const auto serial = [&](const std::string& name) {
    Line line;
    Stream from = *server.accept(name, false, {}, line.server_end);
    RawClient raw(line.client_end);
    raw.shake(from);
    const X509Ptr certificate(SSL_get1_peer_certificate(raw.ssl.get()));
    const ASN1_INTEGER* number = X509_get0_serialNumber(certificate.get());
    return std::string(reinterpret_cast<const char*>(ASN1_STRING_get0_data(number)),
                       static_cast<std::size_t>(ASN1_STRING_length(number)));
  };
  const std::string a = serial("a");
  const std::string b = serial("b");
  EXPECT_NE(a, b);
  EXPECT_EQ(serial("a"), a);
  serial("c");  // b was the longest unused
  EXPECT_EQ(server.leaves(), 2U);
  EXPECT_EQ(serial("a"), a);
  EXPECT_NE(serial("b"), b);
  // A day before its end a leaf is made anew.
  now += std::time_t{kLeafDays - 1} * 86400 - 1;
  EXPECT_EQ(serial("a"), a);
  now += 1;
  EXPECT_NE(serial("a"), a);
  EXPECT_EQ(server.leaves(), 2U);
}

TEST(Authorities, ComeBackFromTheirTexts) {
  const Authority made = *Authority::create("web");
  const auto loaded = Authority::load(made.certificate_pem(), made.key_pem());
  ASSERT_TRUE(loaded);
  EXPECT_EQ(loaded->certificate_pem(), made.certificate_pem());
  EXPECT_EQ(loaded->key_pem(), made.key_pem());
  EXPECT_TRUE(made.key_pem().starts_with("-----BEGIN PRIVATE KEY-----\n"));
  X509* certificate = made.parts().certificate.get();
  EXPECT_EQ(X509_get_pathlen(certificate), 0);
  EXPECT_EQ(X509_get_key_usage(certificate), std::uint32_t{KU_KEY_CERT_SIGN | KU_CRL_SIGN});
  const int at = X509_get_ext_by_NID(certificate, NID_basic_constraints, -1);
  EXPECT_EQ(X509_EXTENSION_get_critical(X509_get_ext(certificate, at)), 1);
  std::array<char, 100> name;
  X509_NAME_oneline(X509_get_subject_name(certificate), name.data(), name.size());
  EXPECT_STREQ(name.data(), "/CN=Pinhole VM web");
}

TEST(Authorities, RefuseWhatDoesNotFit) {
  const Authority one = *Authority::create("one");
  const Authority two = *Authority::create("two");
  const auto message = [](std::string_view certificate, std::string_view key) {
    const auto loaded = Authority::load(certificate, key);
    return loaded ? std::string() : loaded.error().message;
  };
  EXPECT_EQ(message(one.certificate_pem(), two.key_pem()),
            "the key does not belong to the certificate");
  EXPECT_EQ(message(one.certificate_pem() + two.certificate_pem(), one.key_pem()),
            "there is more than one certificate");
  EXPECT_TRUE(message("", one.key_pem()).starts_with("the certificate is damaged: "));
  EXPECT_TRUE(message(one.certificate_pem(), "").starts_with("the key is damaged: "));
  EXPECT_EQ(message(std::string(std::size_t{65} << 10, 'x'), ""),
            "the certificate is longer than 65536 bytes");
  const KeyPtr key = *make_key();
  const X509Ptr leaf = *mint_leaf(one.parts(), key.get(), "a.example", false, std::time(nullptr));
  const Authority fake = [&] {
    auto made = *Authority::create("fake");
    auto& parts = const_cast<Authority::Parts&>(made.parts());
    X509_up_ref(leaf.get());
    parts.certificate.reset(leaf.get());
    EVP_PKEY_up_ref(key.get());
    parts.key.reset(key.get());
    return made;
  }();
  EXPECT_EQ(message(fake.certificate_pem(), fake.key_pem()),
            "the certificate is not one of an authority");
}

}  // namespace
}  // namespace pinhole::tls
