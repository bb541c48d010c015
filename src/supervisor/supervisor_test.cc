// SPDX-License-Identifier: Apache-2.0
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <fstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <boost/json.hpp>

#include "supervisor/console.h"
#include "supervisor/control.h"
#include "supervisor/guest_link.h"
#include "supervisor/launch.h"
#include "supervisor/pep_link.h"
#include "supervisor/status_log.h"
#include "sys/files.h"
#include "sys/unix_socket.h"

namespace pinhole::supervisor {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::MatchesRegex;

class InFolder : public testing::Test {
 protected:
  sys::TempDir folder_ = sys::TempDir::make().value();
  std::filesystem::path at(const char* name) { return folder_.path() / name; }
  std::string text(const char* name) {
    return sys::read_file(at(name), 1 << 24).value_or("missing");
  }
};

using StatusLogFile = InFolder;

TEST_F(StatusLogFile, WritesTheNumbersThatScriptsLookFor) {
  {
    auto log = StatusLog::open(at("status.log")).value();
    log.state(VmState::starting);
    log.state(VmState::stopped, "pinhole down");
    log.line("guest says \x1b[2J");
  }
  EXPECT_THAT(text("status.log"),
              MatchesRegex("[0-9T:.Z-]+ VM state: 4 \\(starting\\)\n[0-9T:.Z-]+ VM state: 0 "
                           "\\(stopped\\): pinhole down\n"
                           "[0-9T:.Z-]+ guest says \\\\x1b\\[2J\n"));
  const LastState last = read_last_state(at("status.log"));
  EXPECT_EQ(last.state, VmState::stopped);
  EXPECT_EQ(last.reason, "pinhole down");
}

TEST_F(StatusLogFile, AnErrorHasItsFailureBeforeIt) {
  auto log = StatusLog::open(at("status.log")).value();
  log.failure({.code = "kernel_panic", .stage = "boot loader", .fix = "pinhole logs; or: rm"});
  log.state(VmState::error, "it panicked");
  const LastState failed = read_last_state(at("status.log"));
  EXPECT_EQ(failed.failure.code, "kernel_panic");
  EXPECT_EQ(failed.failure.stage, "boot loader");
  EXPECT_EQ(failed.failure.fix, "pinhole logs; or: rm");
  log.failure({.code = "vm_process_died"});
  log.state(VmState::error, "qemu was killed");
  EXPECT_EQ(read_last_state(at("status.log")).failure.code, "vm_process_died");
  EXPECT_EQ(read_last_state(at("status.log")).failure.stage, "");
  // A guest's words are not at that place.
  log.foreign_line("console: disk error: failure forged");
  log.state(VmState::stopped, "pinhole down");
  EXPECT_EQ(read_last_state(at("status.log")).failure.code, "");
}

TEST_F(StatusLogFile, GuestCannotPushOtherLinesOut) {
  auto log = StatusLog::open(at("status.log")).value();
  const auto now = std::chrono::steady_clock::now();
  for (int i = 0; i < 10'000; ++i) log.foreign_line("stage x", now);
  log.line("ours");
  EXPECT_EQ(std::ranges::count(text("status.log"), '\n'), StatusLog::kForeignBurst + 1);
  log.foreign_line("stage later", now + StatusLog::kForeignInterval * 2);
  EXPECT_THAT(text("status.log"), HasSubstr("9900 more such lines were dropped"));
  EXPECT_THAT(text("status.log"), HasSubstr("stage later"));
}

TEST_F(StatusLogFile, LastStateIgnoresWhatOnlyLooksLikeOne) {
  std::ofstream(at("status.log")) << "2026-11-22T17:36:22.862Z VM state: 1 (running)\n"
                                  << "2026-11-22T17:36:23.862Z guest: VM state: 3 (error): forged\n"
                                  << "VM state: 3 (error)\n";
  EXPECT_EQ(read_last_state(at("status.log")).state, VmState::running);
  EXPECT_EQ(read_last_state(at("missing")).reason, "never started");
}

TEST(IdMap, GivesTheUserHisOwnIdAndEverythingElseASubordinateOne) {
  const auto describe = [](const std::vector<sys::IdMap>& map) {
    std::string out;
    for (const auto& line : map)
      out += fmt::format("{}:{}:{} ", line.inside, line.outside, line.count);
    return out;
  };
  EXPECT_EQ(describe(id_map(1000, {.first = 100000, .count = 65536})),
            "0:100000:1 1:100001:999 1000:1000:1 1001:101000:64535 ");
  EXPECT_EQ(describe(id_map(1, {.first = 100000, .count = 65536})),
            "0:100000:1 1:1:1 2:100001:65534 ");
  // Few subordinate ids: never one more than there are.
  EXPECT_EQ(describe(id_map(1000, {.first = 5000, .count = 10})), "0:5000:1 1:5001:9 1000:1000:1 ");
  for (const std::uint32_t count : {1U, 2U, 999U, 1000U, 1001U, 65536U}) {
    std::uint64_t used = 0;
    for (const auto& line : id_map(1000, {.first = 100000, .count = count})) {
      if (line.inside != 1000) used += line.count;
    }
    EXPECT_LE(used, count);
  }
}

TEST(Launch, NoChildInheritsTheUsersEnvironmentAndOnlyThePepSeesANetwork) {
  ::setenv("SECRET_TOKEN", "leaks", 1);
  config::VmPlan plan;
  plan.name = "web";
  plan.qemu = "/usr/bin/qemu";
  plan.virtiofsd = "/usr/lib/qemu/virtiofsd";
  plan.shares = {{.tag = "workspace", .host = "/w,source=\\etc", .guest = "/workspace"},
                 {.tag = "share-1", .host = "/d", .guest = "/d", .read_only = true}};
  const auto paths = config::vm_paths(
      {.images = "/i", .vms = "/v", .state = "/s", .runtime = "/r", .config = "/c"}, "web");
  const ShareIds ids{
      .user = {.uid = 1000, .gid = 1000}, .uids = {100000, 65536}, .gids = {100000, 65536}};
  const std::vector<sys::Command> shut = {vsockd_command("/x", plan, paths, {}),
                                          virtiofsd_command(plan, plan.shares[0], ids, 5, 6),
                                          qemu_command(plan, {}, {}), fsguard_command("/x", {})};
  for (const auto& command : shut) {
    EXPECT_TRUE(command.isolation.user && command.isolation.network && command.isolation.ipc)
        << command.program;
  }
  EXPECT_EQ(shut[1].filter, sys::SpawnFilter::file_server);
  EXPECT_EQ(shut[1].args.back(), "source=/workspace");  // whatever its name outside
  const auto& seen = shut[1].isolation.root->paths;
  const auto share = std::ranges::find(seen, "/w,source=\\etc", &sys::Visible::path);
  ASSERT_NE(share, seen.end());
  EXPECT_EQ(share->access, sys::Visible::Access::write);
  const auto other = virtiofsd_command(plan, plan.shares[1], ids, 5, 6);
  const auto& others = other.isolation.root->paths;
  EXPECT_EQ(std::ranges::find(others, "/w,source=\\etc", &sys::Visible::path), others.end());
  EXPECT_EQ(std::ranges::find(others, "/d", &sys::Visible::path)->access,
            sys::Visible::Access::read);
  EXPECT_EQ(shut[2].filter, sys::SpawnFilter::descriptors_only);
  const auto pep = pep_command("/x", plan, paths, "boot", {.control = 5, .listener = 6, .log = 7});
  EXPECT_FALSE(pep.isolation.network);
  for (const auto* command : {&shut[0], &shut[1], &shut[2], &shut[3], &pep}) {
    EXPECT_FALSE(command->environment.contains("SECRET_TOKEN"));
    EXPECT_TRUE(command->die_with_parent);
    EXPECT_FALSE(command->may_gain_privileges);
  }
}

TEST(Launch, ProcessesOfAShareAreNamedByItsTag) {
  EXPECT_EQ(process_name(kFileServer, "workspace"), "virtiofsd");
  EXPECT_EQ(process_name(kFileGuard, "share-1"), "fsguard-share-1");
  for (const char* name : {"virtiofsd", "virtiofsd-share-1"})
    EXPECT_EQ(process_kind(name), kFileServer);
  EXPECT_EQ(process_kind("pep"), "pep");
}

/// A GuestLink with a guest that says what the test wants, byte by byte.
class Guest : public InFolder {
 protected:
  void SetUp() override {
    link_ = std::make_unique<GuestLink>(
        io_, sys::listen_unix(at("hello")).value(),
        [](const std::string& nonce) { return wire::Welcome{.nonce = nonce}; },
        [this](GuestLink::Change change, const wire::GuestMessage&) {
          changes_.push_back(change);
        });
    asio::co_spawn(io_, link_->run(), asio::detached);
  }
  Fd connect() {
    Fd guest = sys::connect_unix(at("hello")).value();
    poll();
    return guest;
  }
  void say(const Fd& guest, std::string_view bytes) {
    ASSERT_TRUE(sys::write_all(guest.get(), bytes));
    poll();
  }
  void say(const Fd& guest, const wire::GuestMessage& message) {
    say(guest, wire::serialise(message));
  }
  std::string heard(const Fd& guest) {
    poll();
    char text[8192];
    const ssize_t n = ::recv(guest.get(), text, sizeof(text), MSG_DONTWAIT);
    if (n > 0) return std::string(text, static_cast<std::size_t>(n));
    // A socket that is closed with something unread in it answers with a reset.
    return n == 0 || errno == ECONNRESET ? "closed" : "nothing";
  }
  void poll() {
    for (int i = 0; i < 20; ++i) io_.poll();
  }
  const GuestState& state() { return link_->state(); }

  asio::io_context io_;
  std::vector<GuestLink::Change> changes_;
  std::unique_ptr<GuestLink> link_;
};

const wire::Hello kHello{.boot_id = "b1", .agent_version = "1", .instance_id = "i"};

TEST_F(Guest, IsReadyOnlyAfterARoundTrip) {
  const Fd guest = connect();
  say(guest, kHello);
  EXPECT_FALSE(state().ready);
  EXPECT_THAT(heard(guest), HasSubstr(state().nonce));
  say(guest, wire::Ready{.nonce = state().nonce});
  EXPECT_TRUE(state().ready);
  say(guest, wire::Stage{.name = wire::StageName::door, .ok = true, .detail = "d", .ms = 1});
  EXPECT_TRUE(state().stages.at(wire::StageName::door).ok);
  EXPECT_THAT(changes_, ElementsAre(GuestLink::Change::hello, GuestLink::Change::ready,
                                    GuestLink::Change::stage));
  say(guest, wire::Heartbeat{.seq = 1});
  EXPECT_THAT(heard(guest), HasSubstr("heartbeat-ack"));
}

TEST_F(Guest, IsToldTheTimeAndFreshRandomnessWithEachHeartbeat) {
  const Fd guest = connect();
  say(guest, kHello);
  heard(guest);
  std::vector<wire::HeartbeatAck> acks;
  for (std::uint64_t seq = 1; seq <= 2; ++seq) {
    say(guest, wire::Heartbeat{.seq = seq});
    std::string line = heard(guest);
    line.pop_back();
    acks.push_back(std::get<wire::HeartbeatAck>(wire::parse_host_message(line).value()));
    EXPECT_EQ(acks.back().seq, seq);
    EXPECT_EQ(acks.back().entropy.size(), wire::kEntropyDigits);
    constexpr std::uint64_t kSlow = 60'000;
    EXPECT_LE(acks.back().time_ms, host_time_ms());
    EXPECT_GT(acks.back().time_ms, host_time_ms() - kSlow);
  }
  EXPECT_NE(acks[0].entropy, acks[1].entropy);
}

TEST_F(Guest, ThatGivesAnotherNonceBackIsDropped) {
  const Fd guest = connect();
  say(guest, kHello);
  heard(guest);
  say(guest, wire::Ready{.nonce = "another"});
  EXPECT_EQ(heard(guest), "closed");
  EXPECT_FALSE(state().ready);
}

TEST_F(Guest, ThatSaysNonsenseIsDroppedAndHarmsNobodyElse) {
  const Fd good = connect();
  say(good, kHello);
  heard(good);
  for (const std::string& nonsense :
       {std::string("{}\n"), std::string("not json\n"), std::string(100'000, 'x'),
        std::string("\0\n", 2),
        wire::serialise(wire::GuestMessage(wire::Ready{.nonce = "before hello"}))}) {
    const Fd bad = connect();
    (void)::send(bad.get(), nonsense.data(), nonsense.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    poll();
    EXPECT_EQ(heard(bad), "closed") << nonsense.substr(0, 20);
  }
  say(good, wire::Ready{.nonce = state().nonce});
  EXPECT_TRUE(state().ready);
}

TEST_F(Guest, CannotHoldMoreThanAFewConnections) {
  std::vector<Fd> silent;
  for (int i = 0; i < 20; ++i) silent.push_back(connect());
  EXPECT_EQ(heard(silent.back()), "closed");
  EXPECT_EQ(heard(silent.front()), "nothing");
  silent.clear();
  poll();
  const Fd good = connect();
  say(good, kHello);
  EXPECT_THAT(heard(good), HasSubstr("welcome"));
}

TEST_F(Guest, ThatRebootsGetsANewNonceAndNothingOldCounts) {
  Fd guest = connect();
  say(guest, kHello);
  const std::string first = state().nonce;
  say(guest, wire::Ready{.nonce = first});
  say(guest, wire::Marker{.name = wire::MarkerName::boot_ok, .content = "nonce=" + first});
  guest = connect();
  say(guest, kHello);  // the same boot, connected anew: what was reported stays
  EXPECT_EQ(state().nonce, first);
  EXPECT_FALSE(state().markers.empty());
  guest = connect();
  say(guest, wire::Hello{.boot_id = "b2", .agent_version = "1"});
  EXPECT_NE(state().nonce, first);
  EXPECT_TRUE(state().markers.empty());
  EXPECT_FALSE(state().ready);
}

TEST_F(Guest, IsToldOfNewPortsOnItsNewestConnectionAlone) {
  link_->tell(wire::Ports{.ports = {80}});  // nobody is there
  const Fd silent = connect();
  const Fd first = connect();
  say(first, kHello);
  EXPECT_THAT(heard(first), HasSubstr("welcome"));
  const Fd second = connect();
  say(second, kHello);
  EXPECT_THAT(heard(second), HasSubstr("welcome"));
  link_->tell(wire::Ports{.ports = {22, 80}});
  link_->tell(wire::Ports{.ports = {22, 443}});
  EXPECT_EQ(heard(second), wire::serialise(wire::Ports{.ports = {22, 80}}) +
                               wire::serialise(wire::Ports{.ports = {22, 443}}));
  EXPECT_EQ(heard(first), "nothing");
  EXPECT_EQ(heard(silent), "nothing");
}

TEST_F(Guest, ThatDoesNotReadWhatItIsToldLosesItsConnection) {
  const Fd guest = connect();
  say(guest, kHello);
  for (int i = 0; i < 2000; ++i) {
    link_->tell(wire::Ports{.ports = std::vector<std::uint16_t>(wire::kPorts, 65535)});
    io_.poll();
  }
  std::string all;
  for (std::string more = heard(guest); more != "nothing" && more != "closed"; more = heard(guest))
    all += more;
  EXPECT_EQ(heard(guest), "closed");
  const Fd again = connect();
  say(again, kHello);
  EXPECT_THAT(heard(again), HasSubstr("welcome"));
}

TEST(PepLinkTest, ReadsReadyHeadsAndReplies) {
  auto ends = sys::socket_pair().value();
  asio::io_context io;
  PepLink link(io, std::move(ends.first));
  asio::co_spawn(io, link.run(), asio::detached);
  ASSERT_TRUE(sys::write_all(ends.second.get(),
                             "{\"event\":\"ready\",\"policy\":\"sha256:ab\",\"ports\":[80,0,65536,"
                             "\"443\",8443]}\nrubbish\n{\"event\":"
                             "\"head\",\"seq\":7,\"sha256\":\"cd\"}\n"));
  Result<std::string> ready = fail("never");
  const auto wait = [](PepLink* l, Result<std::string>* out) -> asio::awaitable<void> {
    *out = co_await l->wait_ready(std::chrono::seconds(5));
  };
  asio::co_spawn(io, wait(&link, &ready), asio::detached);
  while (!ready && io.run_one() > 0) {
  }
  EXPECT_EQ(ready.value(), "sha256:ab");
  EXPECT_THAT(link.ports(), ElementsAre(80, 8443));
  EXPECT_EQ(link.head(), "7 cd");
  Result<boost::json::object> stats = fail("never");
  const auto ask = [](PepLink* l, Result<boost::json::object>* out) -> asio::awaitable<void> {
    *out = co_await l->stats();
  };
  asio::co_spawn(io, ask(&link, &stats), asio::detached);
  io.poll();
  ASSERT_TRUE(sys::write_all(ends.second.get(), "{\"event\":\"stats\",\"requests\":3}\n"));
  while (!stats && io.run_one() > 0) {
  }
  EXPECT_EQ(stats.value().at("requests").as_int64(), 3);
  ends.second.reset();
  io.run();
}

TEST(PepLinkTest, PassesAPolicyOnAndTheAnswerBack) {
  auto ends = sys::socket_pair().value();
  asio::io_context io;
  PepLink link(io, std::move(ends.first));
  asio::co_spawn(io, link.run(), asio::detached);
  const auto reload = [&](std::string_view answer) {
    std::optional<Result<std::string>> hash;
    const auto ask = [](PepLink* l,
                        std::optional<Result<std::string>>* out) -> asio::awaitable<void> {
      boost::json::object request{{"op", "reload"}, {"layers", boost::json::array()}};
      auto reply = co_await l->reload(std::move(request));
      out->emplace(std::move(reply));
    };
    asio::co_spawn(io, ask(&link, &hash), asio::detached);
    io.poll();
    EXPECT_TRUE(sys::write_all(ends.second.get(), answer));
    while (!hash && io.run_one() > 0) {
    }
    return hash->has_value() ? **hash : hash->error().message;
  };
  EXPECT_EQ(reload("{\"event\":\"reloaded\",\"policy\":\"sha256:ef\",\"ports\":[22,80]}\n"),
            "sha256:ef");
  EXPECT_THAT(link.ports(), ElementsAre(22, 80));
  EXPECT_EQ(reload("{\"event\":\"reloaded\",\"policy\":\"sha256:ef\",\"error\":\"p:1:1: no\"}\n"),
            "p:1:1: no");
  EXPECT_THAT(link.ports(), ElementsAre(22, 80));
  char line[256];
  const std::string asked = "{\"op\":\"reload\",\"layers\":[]}\n";
  const auto count = ::read(ends.second.get(), line, sizeof line);
  EXPECT_EQ(std::string_view(line, static_cast<std::size_t>(count)), asked + asked);
  ends.second.reset();
  io.run();
}

TEST(PepLinkTest, ThatEndsBeforeItIsReadyIsAnError) {
  auto ends = sys::socket_pair().value();
  asio::io_context io;
  PepLink link(io, std::move(ends.first));
  ends.second.reset();
  Result<std::string> ready = std::string("not yet");
  const auto wait = [](PepLink* l, Result<std::string>* out) -> asio::awaitable<void> {
    *out = co_await l->wait_ready(std::chrono::seconds(5));
  };
  asio::co_spawn(io, wait(&link, &ready), asio::detached);
  asio::co_spawn(io, link.run(), asio::detached);
  io.run();
  EXPECT_EQ(ready.error().message, "the PEP ended before it was ready");
}

using Console = InFolder;

TEST_F(Console, IsCappedAndItsTailPrintable) {
  auto pipe = sys::make_pipe().value();
  asio::io_context io;
  auto console = ConsoleLog::open(io, at("console.log"), std::move(pipe.first)).value();
  asio::co_spawn(io, console->run(), asio::detached);
  const std::string flood = std::string(65536, 'x') + "\n";
  for (int i = 0; i < 100;
       ++i) {  // 6.5 MB through a pipe of 64 KiB: the reader keeps up or this would hang
    std::string_view rest = flood;
    while (!rest.empty()) {
      const std::size_t piece = std::min<std::size_t>(rest.size(), 4096);
      ASSERT_TRUE(sys::write_all(pipe.second.get(), rest.substr(0, piece)));
      rest.remove_prefix(piece);
      io.poll();
    }
  }
  ASSERT_TRUE(sys::write_all(pipe.second.get(), "evil \x1b[2J\a\r\nlast words"));
  pipe.second.reset();
  io.run();
  EXPECT_LE(std::filesystem::file_size(at("console.log")), (4U << 20) + 65536);
  EXPECT_TRUE(std::filesystem::exists(at("console.log.1")));
  const auto tail = console->tail();
  EXPECT_LE(tail.size(), 21U);
  EXPECT_EQ(tail[tail.size() - 2], "evil \\x07");
  EXPECT_EQ(tail.back(), "last words");
}

using Control = InFolder;

TEST_F(Control, ErrorsTravelWhole) {
  const Error error{.message = "m", .details = {"d"}, .fix = "f", .code = "c"};
  const Error back = error_from(error_answer(error));
  EXPECT_EQ(back.message, "m");
  EXPECT_EQ(back.details, std::vector<std::string>{"d"});
  EXPECT_EQ(back.fix, "f");
  EXPECT_EQ(back.code, "c");
}

TEST_F(Control, ClientBearsASupervisorThatIsNotThereOrBabbles) {
  EXPECT_EQ(ControlClient::connect(at("nobody")).error().code, "not_running");
  const Fd listener = sys::listen_unix(at("sock")).value();
  auto client = ControlClient::connect(at("sock")).value();
  const Fd server(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
  ASSERT_TRUE(sys::write_all(server.get(), "not json\n"));
  EXPECT_EQ(client.request({{"op", "status"}}).error().message,
            "the supervisor's answer is not understood");
  const Error silent = client.request({{"op", "status"}}, std::chrono::milliseconds(20)).error();
  EXPECT_EQ(silent.message,
            fmt::format("its supervisor (process {}) does not respond", ::getpid()));
  EXPECT_EQ(silent.code, "no_answer");
}

TEST_F(Control, ClientDoesNotHangOnASupervisorThatTakesNobody) {
  const Fd listener = sys::listen_unix(at("sock"), 1).value();
  std::vector<Fd> waiting;
  for (auto full = sys::try_connect_unix(at("sock")); full.socket;
       full = sys::try_connect_unix(at("sock"))) {
    if (full.outcome != sys::ConnectOutcome::connected) break;
    waiting.push_back(std::move(full.socket));
  }
  EXPECT_EQ(ControlClient::connect(at("sock")).error().code, "no_answer");
}

}  // namespace
}  // namespace pinhole::supervisor
