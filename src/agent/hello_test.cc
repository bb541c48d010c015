// SPDX-License-Identifier: Apache-2.0
// Port 442 against the agent's own event loop: handshake, stages, markers, heartbeats,
// reconnecting.
#include <gtest/gtest.h>

#include "agent/hello_client.h"
#include "agent/test_host.h"
#include "agent/workspace_watch.h"
#include "base/sha256.h"

namespace pinhole::agent {
namespace {

constexpr const char* kAnswer =
    "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello";

struct HelloTest : testing::Test {
  sys::TempDir dir = sys::TempDir::make().value();
  Listener host{dir.path() / "hello"};
  std::shared_ptr<Settings> settings = std::make_shared<Settings>();

  HelloTest() {
    settings->hello = host.endpoint();
    settings->door = UnixPath{(dir.path() / "door").string()};
    settings->run_dir = dir.path() / "run";
    settings->workspace = dir.path() / "workspace";
    settings->root = dir.path() / "root";
    settings->self = PINHOLE_AGENT;
    settings->reconnect_first = std::chrono::milliseconds(1);
    settings->reconnect_longest = std::chrono::milliseconds(5);
    settings->poll = std::chrono::milliseconds(1);
    for (const auto& folder : {settings->run_dir, settings->workspace, settings->root}) {
      std::filesystem::create_directories(folder);
    }
  }
  void put(const std::string& path, std::string_view content) {
    std::filesystem::create_directories((settings->root / path).parent_path());
    ASSERT_TRUE(sys::write_file_atomic(settings->root / path, content));
  }
  void mount_workspace() {
    put("proc/self/mounts", "workspace " + settings->workspace.string() + " virtiofs rw 0 0\n");
  }
  std::vector<asio::awaitable<void>> services(Result<void> network = {}) {
    std::vector<asio::awaitable<void>> list;
    list.push_back(run_hello(settings, std::move(network)));
    return list;
  }
  template <typename Message>
  static Message next(Peer& peer) {
    const auto message = wire::parse_guest_message(peer.line());
    EXPECT_TRUE(message) << message.error().message;
    const Message* wanted = message ? std::get_if<Message>(&*message) : nullptr;
    EXPECT_NE(wanted, nullptr);
    return wanted == nullptr ? Message{} : *wanted;
  }
  /// The next stage or marker; heartbeats are answered on the way.
  static wire::GuestMessage next_event(Peer& peer) {
    for (;;) {
      auto message = wire::parse_guest_message(peer.line());
      EXPECT_TRUE(message) << message.error().message;
      if (!message) return {};
      const auto* beat = std::get_if<wire::Heartbeat>(&*message);
      if (beat == nullptr) return std::move(*message);
      peer.send(wire::serialise(wire::HostMessage(wire::HeartbeatAck{.seq = beat->seq})));
    }
  }
  static wire::Stage next_stage(Peer& peer) {
    const auto message = next_event(peer);
    const auto* stage = std::get_if<wire::Stage>(&message);
    EXPECT_NE(stage, nullptr) << wire::serialise(message);
    return stage == nullptr ? wire::Stage{} : *stage;
  }
  static wire::Marker next_marker(Peer& peer) {
    const auto message = next_event(peer);
    const auto* marker = std::get_if<wire::Marker>(&message);
    EXPECT_NE(marker, nullptr) << wire::serialise(message);
    return marker == nullptr ? wire::Marker{} : *marker;
  }
  Peer welcome(const wire::Welcome& message) {
    Peer peer = host.accept();
    next<wire::Hello>(peer);
    peer.send(wire::serialise(wire::HostMessage(message)));
    EXPECT_EQ(next<wire::Ready>(peer).nonce, message.nonce);
    return peer;
  }
};

TEST_F(HelloTest, WithoutCloudInitNobodyWaitsForIt) {
  settings->first_process = true;
  settings->set_clock = false;
  Loop loop(services());
  Peer peer = welcome({.nonce = "n-1", .time_ms = 1, .entropy = std::string(64, 'a')});
  EXPECT_EQ(next_stage(peer).name, wire::StageName::agent);
  EXPECT_EQ(next_marker(peer).name, wire::MarkerName::boot_ok);
  EXPECT_EQ(next_marker(peer).name, wire::MarkerName::vsock_fetch);
  const wire::Stage door = next_stage(peer);
  EXPECT_EQ(door.name, wire::StageName::door);
  EXPECT_TRUE(door.ok);
}

TEST_F(HelloTest, AWorkspaceWhoseDeviceWasReplacedIsMountedAgainAndReported) {
  mount_workspace();
  const auto drivers = settings->root / "sys/bus/virtio/drivers/virtiofs";
  std::filesystem::create_directories(drivers);
  std::filesystem::create_symlink("old", drivers / "virtio3");
  // In the place of this program, which cannot mount here: notes what it is asked to do.
  const auto asked = dir.path() / "asked";
  const auto self = dir.path() / "self";
  ASSERT_TRUE(sys::write_file_atomic(
      self, fmt::format("#!/bin/sh\necho $1 $2 >> {}\n", asked.string()), 0700));
  settings->self = self.string();
  settings->workspace_poll = std::chrono::milliseconds(1);
  Loop loop(services());
  Peer peer = welcome({.nonce = "n-1", .workspace = true});
  EXPECT_EQ(next_stage(peer).name, wire::StageName::agent);
  EXPECT_EQ(next_stage(peer).name, wire::StageName::cloud_init);
  EXPECT_EQ(next_stage(peer).name, wire::StageName::workspace);
  EXPECT_EQ(next_marker(peer).name, wire::MarkerName::boot_ok);
  EXPECT_EQ(next_marker(peer).name, wire::MarkerName::vsock_fetch);
  EXPECT_EQ(next_stage(peer).name, wire::StageName::door);
  // The same name, another entry.
  std::filesystem::create_symlink("new", drivers / "next");
  std::filesystem::rename(drivers / "next", drivers / "virtio3");
  const auto again = next_stage(peer);
  EXPECT_EQ(again.name, wire::StageName::workspace);
  EXPECT_TRUE(again.ok) << again.detail;
  EXPECT_EQ(again.detail, "virtiofs at " + settings->workspace.string() + ", mounted again (1)");
  EXPECT_EQ(sys::read_file(asked, 1000).value(),
            fmt::format("workspace-check {0}\nworkspace-mount {0}\nworkspace-check {0}\n",
                        settings->workspace.string()));
}

TEST_F(HelloTest, OfSeveralSharesTheOneThatAnswersNoMoreIsMountedAgain) {
  const auto folder = dir.path() / "data";
  put("proc/self/mounts", "workspace " + settings->workspace.string() + " virtiofs rw 0 0\n");
  const auto drivers = settings->root / "sys/bus/virtio/drivers/virtiofs";
  std::filesystem::create_directories(drivers);
  std::filesystem::create_symlink("old", drivers / "virtio3");
  std::filesystem::create_symlink("old", drivers / "virtio4");
  // The workspace's server answers, the other does once it is mounted again.
  const auto asked = dir.path() / "asked", broken = dir.path() / "broken";
  const auto self = dir.path() / "self";
  ASSERT_TRUE(sys::write_file_atomic(
      self,
      fmt::format("#!/bin/sh\necho $* >> {0}\n[ $1 != workspace-mount ] || rm {1}\n"
                  "[ $1$2 != workspace-look{2} ] || [ ! -e {1} ]\n",
                  asked.string(), broken.string(), folder.string()),
      0700));
  settings->self = self.string();
  settings->workspace_poll = std::chrono::milliseconds(1);
  asio::io_context io;
  auto journal = std::make_shared<Journal>(io.get_executor());
  const std::vector<wire::Mount> shares = {
      {.tag = "workspace", .path = settings->workspace.string()},
      {.tag = "share-1", .path = folder.string(), .read_only = true}};
  asio::co_spawn(io, watch_shares(settings, shares, "n-1", journal), asio::detached);
  io.poll();
  ASSERT_TRUE(sys::write_file_atomic(broken, ""));
  // While one is missing nothing is done.
  std::filesystem::create_symlink("new", drivers / "next");
  std::filesystem::remove(drivers / "virtio4");
  io.run_for(std::chrono::milliseconds(10));
  EXPECT_FALSE(std::filesystem::exists(asked));
  std::filesystem::rename(drivers / "next", drivers / "virtio4");
  while (journal->entries().empty()) io.run_one_for(std::chrono::seconds(1));
  const auto stage = std::get<wire::Stage>(journal->entries().front());
  EXPECT_EQ(stage.detail, "virtiofs at " + folder.string() + ", mounted again (1)");
  EXPECT_EQ(sys::read_file(asked, 1000).value(),
            fmt::format("workspace-look {1}\nworkspace-look {0}\nworkspace-mount {0} share-1 ro\n"
                        "workspace-look {0}\n",
                        folder.string(), settings->workspace.string()));
}

TEST_F(HelloTest, AWholeBootIsReportedInOrderWithItsMarkers) {
  mount_workspace();
  put("usr/bin/cloud-init", "");
  put("run/cloud-init/result.json", R"({"v1":{"datasource":"NoCloud","errors":[]}})");
  put("var/lib/cloud/data/instance-id", "iid-9\n");
  FakeDoor door(dir.path() / "door", 1, [](Peer& peer) {
    peer.line();
    peer.send(kAnswer);
  });
  Loop loop(services());
  Peer peer = host.accept();
  const auto hello = next<wire::Hello>(peer);
  EXPECT_EQ(hello.agent_version, PINHOLE_VERSION);
  EXPECT_EQ(hello.instance_id, "iid-9");
  EXPECT_EQ(hello.boot_id.size(), 36U);
  peer.send(wire::serialise(wire::HostMessage(wire::Welcome{.nonce = "n-1",
                                                            .instance_id = "iid-9",
                                                            .workspace = true,
                                                            .markers = true,
                                                            .fetches = {{.url = "http://a/x"}}})));
  EXPECT_EQ(next<wire::Ready>(peer).nonce, "n-1");
  for (const auto name :
       {wire::StageName::agent, wire::StageName::cloud_init, wire::StageName::workspace}) {
    const auto stage = next_stage(peer);
    EXPECT_EQ(stage.name, name);
    EXPECT_TRUE(stage.ok) << stage.detail;
  }
  const auto boot_ok = next_marker(peer);
  EXPECT_EQ(boot_ok.name, wire::MarkerName::boot_ok);
  EXPECT_NE(boot_ok.content.find("\nnonce=n-1\n"), std::string::npos) << boot_ok.content;
  EXPECT_NE(boot_ok.content.find("\ninstance_id=iid-9\n"), std::string::npos);
  EXPECT_NE(boot_ok.content.find("\nboot_id=" + hello.boot_id + "\n"), std::string::npos);
  const auto fetched = next_marker(peer);
  EXPECT_EQ(fetched.name, wire::MarkerName::vsock_fetch);
  EXPECT_EQ(fetched.content,
            "status=200 bytes=5 sha256=" + sha256_hex("hello") + " url=http://a/x\n");
  const auto stage = next_stage(peer);
  EXPECT_EQ(stage.name, wire::StageName::door);
  EXPECT_TRUE(stage.ok) << stage.detail;
  for (const auto& folder : {settings->run_dir, settings->workspace}) {
    EXPECT_EQ(*sys::read_file(folder / "boot-ok.txt", 4096), boot_ok.content);
    EXPECT_EQ(*sys::read_file(folder / "vsock-fetch.out", 4096), fetched.content);
  }
}

TEST_F(HelloTest, AWorkspaceThatWantsNoMarkersGetsNone) {
  mount_workspace();
  Loop loop(services());
  Peer peer = welcome({.nonce = "n", .workspace = true});
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(next_stage(peer).ok);
  EXPECT_EQ(next_marker(peer).name, wire::MarkerName::boot_ok);
  EXPECT_TRUE(std::filesystem::is_empty(settings->workspace));
  EXPECT_TRUE(std::filesystem::exists(settings->run_dir / "boot-ok.txt"));
}

TEST_F(HelloTest, HeartbeatsCountUpAndAConnectionWithoutAnswersIsMadeAnew) {
  Loop loop(services());
  Peer peer = welcome({.nonce = "n", .heartbeat_ms = 50});
  std::uint64_t expected = 0;
  for (std::string line = peer.line(); !line.empty(); line = peer.line()) {
    const auto message = wire::parse_guest_message(line);
    ASSERT_TRUE(message);
    if (const auto* beat = std::get_if<wire::Heartbeat>(&*message)) {
      EXPECT_EQ(beat->seq, ++expected);
      EXPECT_GT(beat->uptime_ms, 0U);
      if (beat->seq <= 2) {
        peer.send(wire::serialise(wire::HostMessage(wire::HeartbeatAck{.seq = beat->seq})));
      }
    }
  }
  EXPECT_EQ(expected, 6U);  // two answered, four not
  Peer again = host.accept();
  next<wire::Hello>(again);
}

TEST_F(HelloTest, AReconnectRepeatsWhatWasReportedAndANewNonceStartsAnew) {
  Loop loop(services());
  std::vector<wire::GuestMessage> first;
  {
    Peer peer = welcome({.nonce = "n1"});
    for (int i = 0; i < 5; ++i) first.push_back(next_event(peer));
  }
  {
    Peer peer = welcome({.nonce = "n1"});
    for (const auto& message : first) EXPECT_EQ(next_event(peer), message);
  }
  Peer peer = welcome({.nonce = "n2"});
  next_stage(peer);
  next_stage(peer);
  EXPECT_NE(next_marker(peer).content.find("\nnonce=n2\n"), std::string::npos);
}

TEST_F(HelloTest, AHostThatSpeaksNonsenseIsLeftAndTriedAgain) {
  Loop loop(services());
  for (const std::string& nonsense :
       {std::string("hello\n"), std::string("{\"v\":2,\"type\":\"welcome\"}\n"),
        wire::serialise(wire::HostMessage(wire::HeartbeatAck{.seq = 1})),
        std::string(wire::kMessageBytes + 2, 'x')}) {
    Peer peer = host.accept();
    next<wire::Hello>(peer);
    peer.send(nonsense);
    EXPECT_EQ(peer.line(), "");
  }
  Peer peer = welcome({.nonce = "n"});
  EXPECT_TRUE(next_stage(peer).ok);
}

// Causes: each has its own text, and none leaves a boot-ok.txt.

struct Cause {
  wire::StageName stage;
  std::string detail;
};

struct CauseTest : HelloTest {
  /// Reads up to the stage that failed; then the door's marker must come without a boot-ok.txt
  /// before it.
  void expect_failure(Peer& peer, const Cause& cause) {
    wire::Stage stage = next_stage(peer);
    while (stage.name != cause.stage) {
      EXPECT_TRUE(stage.ok) << stage.detail;
      stage = next_stage(peer);
    }
    EXPECT_FALSE(stage.ok);
    EXPECT_EQ(stage.detail, cause.detail);
    wire::GuestMessage message = next_event(peer);
    while (std::holds_alternative<wire::Stage>(message)) message = next_event(peer);
    EXPECT_EQ(std::get<wire::Marker>(message).name, wire::MarkerName::vsock_fetch);
    EXPECT_FALSE(std::filesystem::exists(settings->run_dir / "boot-ok.txt"));
  }
};

TEST_F(CauseTest, NoWorkspaceMount) {
  put("proc/self/mounts", "/dev/vda2 / ext4 rw 0 0\n");
  settings->workspace_limit = std::chrono::milliseconds(5);
  Loop loop(services());
  Peer peer = welcome({.nonce = "n", .workspace = true});
  expect_failure(peer, {wire::StageName::workspace,
                        "nothing is mounted at " + settings->workspace.string() + " after 0 s"});
}

TEST_F(CauseTest, AWorkspaceThatKeepsNothing) {
  mount_workspace();
  std::filesystem::remove(settings->workspace);
  Loop loop(services());
  Peer peer = welcome({.nonce = "n", .workspace = true});
  const std::string folder = settings->workspace.string();
  expect_failure(peer, {wire::StageName::workspace, "the file server behind " + folder +
                                                        " fails: cannot create a file in " +
                                                        folder + ": No such file or directory"});
}

TEST_F(CauseTest, CloudInitErrors) {
  put("run/cloud-init/result.json", R"({"v1":{"errors":["runcmd failed"]}})");
  Loop loop(services());
  Peer peer = welcome({.nonce = "n"});
  expect_failure(peer, {wire::StageName::cloud_init, "cloud-init: runcmd failed"});
}

TEST_F(CauseTest, AnotherInstanceIdThanTheSeeds) {
  put("run/cloud-init/result.json", R"({"v1":{"datasource":"None","errors":[]}})");
  put("var/lib/cloud/data/instance-id", "iid-old");
  Loop loop(services());
  Peer peer = welcome({.nonce = "n", .instance_id = "iid-new"});
  expect_failure(peer, {wire::StageName::cloud_init,
                        "cloud-init has instance id \"iid-old\", but the seed says \"iid-new\""});
}

TEST_F(CauseTest, CloudInitThatIsNeverDone) {
  put("usr/bin/cloud-init", "");
  settings->cloud_init_limit = std::chrono::milliseconds(5);
  Loop loop(services());
  Peer peer = welcome({.nonce = "n"});
  expect_failure(peer, {wire::StageName::cloud_init, "cloud-init was not done within 0 s"});
}

TEST_F(CauseTest, ALoopbackThatCouldNotBeSetUp) {
  Loop loop(services(fail("cannot bring lo up: Operation not permitted")));
  Peer peer = welcome({.nonce = "n"});
  expect_failure(peer, {wire::StageName::agent, "cannot bring lo up: Operation not permitted"});
}

TEST_F(HelloTest, ADoorThatNeverAnswersFailsItsStageAlone) {
  settings->door_limit = std::chrono::milliseconds(5);
  Loop loop(services());
  Peer peer = welcome({.nonce = "n", .fetches = {{.url = "http://a/x"}}});
  next_stage(peer);
  next_stage(peer);
  EXPECT_EQ(next_marker(peer).name, wire::MarkerName::boot_ok);
  EXPECT_TRUE(
      next_marker(peer).content.starts_with("status=0 code=unreachable url=http://a/x cause="));
  const auto stage = next_stage(peer);
  EXPECT_FALSE(stage.ok);
  EXPECT_TRUE(stage.detail.starts_with("GET http://a/x: cannot connect to unix:")) << stage.detail;
}

TEST_F(HelloTest, ADoorThatComesUpLaterIsWaitedFor) {
  Loop loop(services());
  Peer peer = welcome({.nonce = "n", .fetches = {{.url = "http://a/x"}}});
  next_stage(peer);
  next_stage(peer);
  next_marker(peer);  // the door is tried from here on
  FakeDoor door(dir.path() / "door", 1, [](Peer& client) {
    client.line();
    client.send(kAnswer);
  });
  EXPECT_TRUE(next_marker(peer).content.starts_with("status=200 bytes=5 "));
  EXPECT_TRUE(next_stage(peer).ok);
}

}  // namespace
}  // namespace pinhole::agent
