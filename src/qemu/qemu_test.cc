// SPDX-License-Identifier: Apache-2.0
#include <sys/socket.h>

#include <fstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <boost/json.hpp>

#include "qemu/args.h"
#include "qemu/firmware.h"
#include "qemu/qmp.h"
#include "sys/files.h"
#include "sys/unix_socket.h"
#include "sys/user.h"

namespace pinhole::qemu {
namespace {

using testing::HasSubstr;
using testing::Not;

config::VmPlan sample_plan() {
  config::VmPlan plan;
  plan.name = "web";
  plan.disk = {.path = "/v/web/disk.qcow2", .format = config::DiskFormat::qcow2};
  plan.backing = config::Disk{.path = "/i/base/disk.raw", .format = config::DiskFormat::raw};
  plan.firmware = {.code = "/fw/CODE.fd", .vars_template = "/fw/VARS.fd"};
  plan.cpus = 2;
  plan.shares = {{.tag = "workspace", .host = "/home/ana/project", .guest = "/workspace"}};
  return plan;
}

std::string joined(const std::vector<std::string>& args) {
  std::string out;
  for (const std::string& arg : args)
    out += (arg.starts_with('-') ? (out.empty() ? "" : "\n") : " ") + arg;
  return out + "\n";
}

/// PINHOLE_WRITE_GOLDEN=1 writes the files anew; the difference is then for a reviewer's eyes.
void expect_golden(const char* name, const std::string& text) {
  const auto path = std::filesystem::path(PINHOLE_SOURCE_DIR) / "tests/data/qemu" / name;
  if (sys::env("PINHOLE_WRITE_GOLDEN")) ASSERT_TRUE(sys::write_file_atomic(path, text, 0644));
  EXPECT_EQ(text, sys::read_file(path, 65536).value_or("missing"));
}

TEST(QemuArgs, MatchTheGoldenFiles) {
  config::VmPlan plan = sample_plan();
  expect_golden("overlay-workspace-tcg.args", joined(qemu_args(plan)));
  plan.backing.reset();
  plan.disk = {.path = "/home/ana/a,b.raw", .format = config::DiskFormat::raw};
  plan.shares.clear();
  plan.accelerator = config::Accelerator::kvm;
  expect_golden("raw-kvm.args", joined(qemu_args(plan)));
}

TEST(QemuArgs, OfADirectBootNameKernelAndInitrdAndNoFirmware) {
  config::VmPlan plan = sample_plan();
  plan.firmware = {};
  plan.direct = config::DirectBoot{
      .kernel = "/i/base/vmlinuz", .initrd = "/v/web/initrd", .cmdline = "console=ttyS0 panic=-1"};
  plan.shares.push_back(
      {.tag = "share-1", .host = "/home/ana/data", .guest = "/data", .read_only = true});
  expect_golden("direct-tcg.args", joined(qemu_args(plan)));
}

TEST(QemuArgs, NeverHoldANetworkDeviceOrABackingFileOfTheGuestsChoice) {
  config::VmPlan plan = sample_plan();
  for (const bool overlay : {true, false}) {
    if (!overlay) plan.backing.reset();
    const std::string text = joined(qemu_args(plan));
    for (const char* forbidden :
         {"netdev", "virtio-net", "e1000", "-nic", "-net ", "hostfwd", "rtl8139"}) {
      EXPECT_THAT(text, Not(HasSubstr(forbidden)));
    }
    EXPECT_THAT(text, HasSubstr(overlay ? ",backing=base" : ",backing=\n"));
    EXPECT_THAT(text, HasSubstr("-nodefaults"));
  }
}

TEST(Firmware, DescriptorOfPlainOvmfFits) {
  const std::string_view text = R"({"interface-types":["uefi"],"mapping":{"device":"flash",
    "executable":{"filename":"/c","format":"raw"},"nvram-template":{"filename":"/v","format":"raw"}},
    "targets":[{"architecture":"x86_64","machines":["pc-i440fx-*","pc-q35-*"]}],"features":["amd-sev"]})";
  const auto firmware = parse_descriptor(text).value();
  ASSERT_TRUE(firmware);
  EXPECT_EQ(firmware->code, "/c");
  std::string secure(text);
  secure.replace(secure.find("amd-sev"), 7, "secure-boot");
  EXPECT_FALSE(parse_descriptor(secure).value());
  std::string other(text);
  other.replace(other.find("x86_64"), 6, "riscv6");
  EXPECT_FALSE(parse_descriptor(other).value());
  EXPECT_FALSE(parse_descriptor("[]"));
  EXPECT_FALSE(parse_descriptor("{"));
}

TEST(Firmware, MissingFirmwareIsNamedWithItsPackage) {
  const auto folder = sys::TempDir::make().value();
  std::ofstream(folder.path() / "10-broken.json") << "<html>";
  const auto found = find_firmware({folder.path()});
  ASSERT_FALSE(found);
  EXPECT_EQ(found.error().message, "no UEFI firmware for an x86_64 q35 machine was found");
  EXPECT_EQ(found.error().fix, "sudo apt-get install ovmf");
  EXPECT_EQ(found.error().details,
            std::vector<std::string>{(folder.path() / "10-broken.json").string() +
                                     ": it is not a JSON object"});
}

/// A QEMU that answers each line it gets with the next of its lines.
class ScriptedQemu {
 public:
  explicit ScriptedQemu(std::string script) {
    auto ends = sys::socket_pair().value();
    client_ = std::move(ends.first);
    qemu_ = std::move(ends.second);
    EXPECT_TRUE(sys::write_all(qemu_.get(), script));
    ::shutdown(qemu_.get(), SHUT_WR);
  }
  Fd take_client() { return std::move(client_); }

 private:
  Fd client_, qemu_;
};

Result<boost::json::value> execute_against(std::string script,
                                           std::vector<std::string>* events = nullptr) {
  ScriptedQemu qemu(std::move(script));
  asio::io_context io;
  QmpClient client(io, qemu.take_client(), [&](std::string_view name, const boost::json::object&) {
    if (events != nullptr) events->emplace_back(name);
  });
  Result<boost::json::value> result = fail("never answered");
  const auto call = [](QmpClient* c, Result<boost::json::value>* out) -> asio::awaitable<void> {
    *out = co_await c->execute("query-status");
  };
  asio::co_spawn(io, call(&client, &result), asio::detached);
  asio::co_spawn(io, client.run(), asio::detached);
  io.run();
  return result;
}

TEST(Qmp, MatchesAnswersByIdAndDeliversEvents) {
  std::vector<std::string> events;
  const auto result = execute_against(
      "{\"QMP\":{}}\n{\"return\":{},\"id\":0}\n{\"event\":\"RESUME\"}\n{\"return\":{\"status\":"
      "\"running\"},\"id\":1}\n",
      &events);
  ASSERT_TRUE(result) << result.error().message;
  EXPECT_EQ(boost::json::serialize(*result), "{\"status\":\"running\"}");
  EXPECT_EQ(events, std::vector<std::string>{"RESUME"});
}

TEST(Qmp, ErrorsAreQemusWords) {
  EXPECT_EQ(execute_against(
                "{\"error\":{\"class\":\"GenericError\",\"desc\":\"no such device\"},\"id\":1}\n")
                .error()
                .message,
            "QEMU: no such device");
}

TEST(Qmp, BrokenPeerEndsTheCall) {
  for (const char* script : {"", "not json\n", "[]\n", "{\"return\":1,\"id\":99}\n"}) {
    EXPECT_EQ(execute_against(script).error().message, "QEMU closed its control connection")
        << script;
  }
  EXPECT_FALSE(execute_against(std::string(3 << 20, 'x').substr(0, 150000)));
}

TEST(Qmp, PciListWalksBridges) {
  const auto reply = boost::json::parse(R"([{"bus":0,"devices":[
    {"class_info":{"class":1536},"qdev_id":""},
    {"class_info":{"class":1540},"qdev_id":"port","pci_bridge":{"devices":[{"class_info":{"class":512},"qdev_id":"nic"}]}}]}])");
  const auto devices = parse_pci(reply).value();
  ASSERT_EQ(devices.size(), 3U);
  EXPECT_EQ(devices[2].device_class, 0x0200U);
  EXPECT_EQ(devices[2].id, "nic");
  EXPECT_FALSE(parse_pci(boost::json::parse("[{\"devices\":[{}]}]")));
  EXPECT_FALSE(parse_pci(boost::json::parse("{}")));
}

}  // namespace
}  // namespace pinhole::qemu
