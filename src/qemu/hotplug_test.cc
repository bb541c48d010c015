// SPDX-License-Identifier: Apache-2.0
#include "qemu/hotplug.h"

#include <sys/socket.h>

#include <functional>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <boost/json.hpp>

#include "base/json.h"
#include "sys/fd_passing.h"
#include "sys/files.h"
#include "sys/unix_socket.h"

namespace pinhole::qemu {
namespace {

namespace json = boost::json;
using testing::ElementsAre;

const VhostDevice kDevice{
    .driver = "vhost-user-fs-pci",
    .id = "workspace0",
    .chardev = "chr-workspace0",
    .bus = "port-workspace",
    .properties = {{"tag", "workspace"}},
};

/// QEMU's end of the socket: answers each command with what the test says.
class FakeQemu {
 public:
  using Answer = std::function<std::string(const std::string& command)>;

  FakeQemu(asio::io_context& io, Fd socket, Answer answer)
      : socket_(io, asio::local::stream_protocol(), socket.release()), answer_(std::move(answer)) {
    sys::set_nonblocking(socket_.native_handle());
    asio::co_spawn(io, serve(), asio::detached);
  }

  std::vector<std::string> commands;  // as JSON, without ids
  int descriptors = 0;

 private:
  asio::awaitable<void> serve() {
    for (;;) {
      const auto [error] =
          co_await socket_.async_wait(asio::local::stream_protocol::socket::wait_read, as_result);
      std::array<std::uint8_t, 4096> bytes{};
      const auto got = sys::receive_with_fds(socket_.native_handle(), bytes);
      if (error || !got || got->kind != sys::ReceivedBytes::Kind::bytes) co_return;
      descriptors += static_cast<int>(got->fds.size());
      received_.append(reinterpret_cast<const char*>(bytes.data()), got->count);
      for (std::size_t end = received_.find('\n'); end != std::string::npos;
           end = received_.find('\n')) {
        handle(received_.substr(0, end));
        received_.erase(0, end + 1);
      }
    }
  }
  void handle(const std::string& line) {
    json::object command = json::parse(line).as_object();
    const std::string id = json::serialize(command["id"]);
    if (id == "0") return;
    command.erase("id");
    commands.push_back(json::serialize(command));
    std::string text = answer_(text_of(command, "execute"));
    if (const std::size_t at = text.find("ID"); at != std::string::npos) text.replace(at, 2, id);
    (void)sys::write_all(socket_.native_handle(), text);
  }

  asio::local::stream_protocol::socket socket_;
  Answer answer_;
  std::string received_;
};

std::string done() { return "{\"return\":{},\"id\":ID}\n"; }
std::string refused(std::string_view kind) {
  return fmt::format("{{\"error\":{{\"class\":\"{}\",\"desc\":\"no\"}},\"id\":ID}}\n", kind);
}
std::string deleted(std::string_view device) {
  return fmt::format("{{\"event\":\"DEVICE_DELETED\",\"data\":{{\"device\":\"{}\"}}}}\n", device);
}

struct Machine {
  explicit Machine(FakeQemu::Answer answer) {
    auto ends = sys::socket_pair().value();
    qemu = std::make_unique<FakeQemu>(io, std::move(ends.second), std::move(answer));
    client = std::make_unique<QmpClient>(io, std::move(ends.first),
                                         [this](std::string_view name, const json::object& data) {
                                           if (hotplug) hotplug->on_event(name, data);
                                         });
    hotplug = std::make_unique<Hotplug>(io, *client);
    asio::co_spawn(io, client->run(), asio::detached);
  }
  Result<void> run(asio::awaitable<Result<void>> work) {
    std::optional<Result<void>> out;
    const auto call = [](asio::awaitable<Result<void>> w,
                         std::optional<Result<void>>* o) -> asio::awaitable<void> {
      auto result = co_await std::move(w);
      *o = std::move(result);
    };
    asio::co_spawn(io, call(std::move(work), &out), asio::detached);
    while (!out && io.run_one() > 0) {
    }
    return std::move(out).value();
  }
  asio::io_context io;
  std::unique_ptr<FakeQemu> qemu;
  std::unique_ptr<QmpClient> client;
  std::unique_ptr<Hotplug> hotplug;
};

TEST(Hotplug, UnplugWaitsForTheGuestAndForItsOwnDevice) {
  Machine machine([](const std::string& command) {
    return command == "device_del" ? done() + deleted("another") + deleted("workspace0") : done();
  });
  ASSERT_TRUE(machine.run(machine.hotplug->unplug(kDevice, std::chrono::seconds(10))));
  EXPECT_THAT(machine.qemu->commands,
              ElementsAre(R"({"execute":"device_del","arguments":{"id":"workspace0"}})",
                          R"({"execute":"chardev-remove","arguments":{"id":"chr-workspace0"}})"));
}

TEST(Hotplug, UnplugOfADeviceThatIsGoneIsDone) {
  Machine machine([](const std::string& command) {
    return command == "device_del" ? refused("DeviceNotFound") : done();
  });
  EXPECT_TRUE(machine.run(machine.hotplug->unplug(kDevice, std::chrono::seconds(10))));
}

TEST(Hotplug, UnplugEndsWhenTheGuestDoesNotAnswer) {
  Machine machine([](const std::string&) { return refused("GenericError"); });
  const auto result = machine.run(machine.hotplug->unplug(kDevice, std::chrono::milliseconds(10)));
  EXPECT_EQ(result.error().message, "the guest did not let go of workspace0 within 0 s");
}

TEST(Hotplug, PlugHandsTheSocketOverAndNamesIt) {
  Machine machine([](const std::string&) { return done(); });
  Fd socket = sys::socket_pair().value().first;
  ASSERT_TRUE(machine.run(machine.hotplug->plug(kDevice, std::move(socket))));
  EXPECT_EQ(machine.qemu->descriptors, 1);
  EXPECT_THAT(
      machine.qemu->commands,
      ElementsAre(
          R"({"execute":"getfd","arguments":{"fdname":"fd-chr-workspace0"}})",
          R"({"execute":"chardev-add","arguments":{"id":"chr-workspace0","backend":{"type":"socket","data":{"addr":{"type":"fd","data":{"str":"fd-chr-workspace0"}},"server":false}}}})",
          R"({"execute":"device_add","arguments":{"tag":"workspace","driver":"vhost-user-fs-pci","id":"workspace0","chardev":"chr-workspace0","bus":"port-workspace"}})"));
}

TEST(Hotplug, PlugThatFailsLeavesTheNameFree) {
  Machine machine([](const std::string& command) {
    return command == "device_add" ? refused("GenericError") : done();
  });
  Fd socket = sys::socket_pair().value().first;
  const auto result = machine.run(machine.hotplug->plug(kDevice, std::move(socket)));
  EXPECT_EQ(result.error().message, "QEMU: no");
  EXPECT_EQ(machine.qemu->commands.back(),
            R"({"execute":"chardev-remove","arguments":{"id":"chr-workspace0"}})");
}

}  // namespace
}  // namespace pinhole::qemu
