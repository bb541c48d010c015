// SPDX-License-Identifier: Apache-2.0
// The attacks that a guest's root can make, against the program, each while another machine's device
// carries a stream.
#include "vhost/testing/attacks.h"

#include <gtest/gtest.h>
#include <sys/socket.h>

#include <atomic>
#include <string>
#include <thread>

#include "sys/unix_socket.h"
#include "vhost/testing/fake_machine.h"
#include "vhost/testing/host_programs.h"

namespace pinhole::vhost::testing {

void PrintTo(const Attack& attack, std::ostream* out) { *out << attack.name; }

namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

/// A host program that takes every connection, and reads and answers each a little.
class Host {
 public:
  explicit Host(Fd listener) : listener_(std::move(listener)) {
    sys::set_blocking(listener_.get());
    thread_ = std::thread([this] { run(); });
  }
  ~Host() {
    ::shutdown(listener_.get(), SHUT_RDWR);
    thread_.join();
  }

 private:
  void run() {
    while (Fd client = Fd(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC))) {
      std::array<char, 64> bytes{};
      ::recv(client.get(), bytes.data(), bytes.size(), MSG_DONTWAIT);
      ::send(client.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
      kept_.push_back(std::move(client));
      if (kept_.size() > 64) kept_.erase(kept_.begin());
    }
  }
  Fd listener_;
  std::vector<Fd> kept_;
  std::thread thread_;
};

class VsockdUnderAttack : public ::testing::TestWithParam<Attack> {
 protected:
  void SetUp() override {
    folder_ = sys::TempDir::make().value();
    program_ = start_program(folder_->path(), "440,442").value();
    host_.emplace(listen_port(folder_->path(), 440).value());
    guest_ = connect_guest(folder_->path()).value();
    machine_.emplace(*guest_);
  }

  std::optional<sys::TempDir> folder_;
  std::optional<sys::Process> program_;
  std::optional<Host> host_;
  std::unique_ptr<FakeGuest> guest_;
  std::optional<FakeMachine> machine_;
};

TEST_P(VsockdUnderAttack, TheNextDriverFindsItsDoor) {
  HostileDriver driver(*machine_, 3, 20261123);
  ASSERT_TRUE(driver.door_answers(seconds(10)));
  GetParam().act(driver, HostileDriver::Clock::now() + milliseconds(200));
  driver.stop();
  EXPECT_FALSE(program_->poll()) << program_->poll()->text();
  EXPECT_TRUE(driver.door_answers(seconds(15)));
  EXPECT_FALSE(machine_->broken());
}

std::string test_name(const ::testing::TestParamInfo<Attack>& info) {
  std::string name(info.param.name);
  std::ranges::replace(name, '-', '_');
  return name;
}
INSTANTIATE_TEST_SUITE_P(Rings, VsockdUnderAttack, ::testing::ValuesIn(ring_attacks()), test_name);
INSTANTIATE_TEST_SUITE_P(Packets, VsockdUnderAttack, ::testing::ValuesIn(packet_attacks()),
                         test_name);

}  // namespace
}  // namespace pinhole::vhost::testing
