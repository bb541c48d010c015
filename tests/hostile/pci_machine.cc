// SPDX-License-Identifier: Apache-2.0
#include "pci_machine.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <limits>
#include <thread>

#include "base/bytes.h"

namespace pinhole::hostile {
namespace {

namespace fs = std::filesystem;
using vhost::testing::kPageSize;
using vhost::testing::Page;
using vhost::testing::QueuePlace;

constexpr std::string_view kVendor = "0x1af4";
constexpr std::string_view kDevice = "0x1053";  // 0x1040 + 19, the vsock device

// PCI configuration space (PCI 3.0, 6.1 and 6.7).
constexpr std::size_t kCommand = 0x04;
constexpr std::uint16_t kCommandMemory = 2;
constexpr std::uint16_t kCommandMaster = 4;
constexpr std::uint16_t kCommandNoInterrupt = 0x400;
constexpr std::size_t kCapabilities = 0x34;
constexpr std::uint8_t kVendorCapability = 9;

// struct virtio_pci_cap: cap_vndr, cap_next, cap_len, cfg_type, bar, id, padding[2], offset, length
constexpr std::uint8_t kCommonWindow = 1;
constexpr std::uint8_t kNotifyWindow = 2;
constexpr std::uint8_t kDeviceWindow = 4;

// struct virtio_pci_common_cfg
constexpr std::uint32_t kDriverFeatureSelect = 8;
constexpr std::uint32_t kDriverFeature = 12;
constexpr std::uint32_t kDeviceStatus = 20;
constexpr std::uint32_t kQueueSelect = 22;
constexpr std::uint32_t kQueueSize = 24;
constexpr std::uint32_t kQueueEnable = 28;
constexpr std::uint32_t kQueueNotifyOffset = 30;
constexpr std::uint32_t kQueueDescriptors = 32;
constexpr std::uint32_t kQueueAvailable = 40;
constexpr std::uint32_t kQueueUsed = 48;
constexpr std::uint32_t kCommonSize = 56;

constexpr std::uint8_t kAcknowledge = 1;
constexpr std::uint8_t kDriver = 2;
constexpr std::uint8_t kDriverOk = 4;
constexpr std::uint8_t kFeaturesOk = 8;

std::string read_word(const fs::path& path) {
  std::ifstream file(path);
  std::string word;
  file >> word;
  return word;
}

Result<void> write_file(const fs::path& path, std::string_view text) {
  const Fd file(::open(path.c_str(), O_WRONLY | O_CLOEXEC));
  if (!file || ::write(file.get(), text.data(), text.size()) != static_cast<ssize_t>(text.size())) {
    return fail("{}: {}", path.string(), errno_text(errno));
  }
  return {};
}

}  // namespace

Result<PciDevice> find_vsock_device() {
  for (const auto& entry : fs::directory_iterator("/sys/bus/pci/devices")) {
    if (read_word(entry.path() / "vendor") != kVendor) continue;
    if (read_word(entry.path() / "device") != kDevice) continue;
    std::error_code none;
    const fs::path driver = fs::read_symlink(entry.path() / "driver", none);
    return PciDevice{entry.path(), entry.path().filename().string(), driver.filename().string()};
  }
  return fail("there is no virtio-vsock device on the PCI bus");
}

Result<void> unbind(const PciDevice& device) {
  if (device.driver.empty()) return {};
  return write_file(device.folder / "driver/unbind", device.slot);
}

Result<void> bind(const PciDevice& device) {
  const std::string driver = device.driver.empty() ? "virtio-pci" : device.driver;
  return write_file(fs::path("/sys/bus/pci/drivers") / driver / "bind", device.slot);
}

// ---------------------------------------------------------------- set-up

Result<std::unique_ptr<PciMachine>> PciMachine::open(const PciDevice& device) {
  std::unique_ptr<PciMachine> machine(new PciMachine(device.slot));
  PINHOLE_TRY_VOID(machine->switch_on(device));
  PINHOLE_TRY_VOID(machine->read_capabilities(device));
  PINHOLE_TRY_VOID(machine->take_memory());
  machine->find_holes(device);
  machine->stop();
  for (std::uint16_t queue = 0; queue < kQueues; ++queue) {
    machine->write16(kQueueSelect, queue);
    machine->notify_offset_[queue] =
        machine->read16(kQueueNotifyOffset) * machine->notify_multiplier_;
    if (machine->notify_offset_[queue] + 2 > machine->notify_.size) {
      return fail("queue {} has no place to notify it", queue);
    }
  }
  return machine;
}

PciMachine::~PciMachine() {
  if (common_.bytes != nullptr) stop();
  for (const Mapping& mapping : mappings_) ::munmap(mapping.base, mapping.size);
}

Result<void> PciMachine::switch_on(const PciDevice& device) {
  // Without a driver it may be off; root may switch it on.
  (void)write_file(device.folder / "enable", "1");
  const Fd config(::open((device.folder / "config").c_str(), O_RDWR | O_CLOEXEC));
  std::uint16_t command = 0;
  if (!config || ::pread(config.get(), &command, 2, kCommand) != 2) {
    return fail("cannot read the configuration of {}: {}", device.slot, errno_text(errno));
  }
  // Nobody would answer an interrupt.
  command |= kCommandMemory | kCommandMaster | kCommandNoInterrupt;
  if (::pwrite(config.get(), &command, 2, kCommand) != 2) {
    return fail("cannot switch {} on: {}", device.slot, errno_text(errno));
  }
  return {};
}

Result<void> PciMachine::read_capabilities(const PciDevice& device) {
  const Fd config(::open((device.folder / "config").c_str(), O_RDONLY | O_CLOEXEC));
  std::array<std::uint8_t, 256> bytes{};
  if (!config ||
      ::pread(config.get(), bytes.data(), bytes.size(), 0) != static_cast<ssize_t>(bytes.size())) {
    return fail("cannot read the configuration of {}: {}", device.slot, errno_text(errno));
  }
  std::size_t at = bytes[kCapabilities];
  for (int seen = 0; seen < 48 && at >= 0x40 && at + 20 <= bytes.size(); ++seen) {
    const std::span<const std::uint8_t> capability(bytes.data() + at, 20);
    if (capability[0] == kVendorCapability) {
      const std::uint8_t bar = capability[4];
      const auto offset = load_le<std::uint32_t>(capability, 8);
      const auto size = load_le<std::uint32_t>(capability, 12);
      Registers* window = capability[3] == kCommonWindow   ? &common_
                          : capability[3] == kNotifyWindow ? &notify_
                          : capability[3] == kDeviceWindow ? &device_
                                                           : nullptr;
      if (window != nullptr && window->bytes == nullptr) {
        PINHOLE_TRY(*window, map_window(device, bar, offset, size));
      }
      if (window == &notify_) notify_multiplier_ = load_le<std::uint32_t>(capability, 16);
    }
    at = capability[1];
  }
  if (common_.size < kCommonSize || notify_.bytes == nullptr || device_.size < 8) {
    return fail("{} has not the registers of a modern virtio device", device.slot);
  }
  return {};
}

Result<Registers> PciMachine::map_window(const PciDevice& device, std::uint8_t bar,
                                         std::uint32_t offset, std::uint32_t size) {
  const fs::path path = device.folder / fmt::format("resource{}", bar);
  const Fd file(::open(path.c_str(), O_RDWR | O_SYNC | O_CLOEXEC));
  if (!file) return fail("{}: {}", path.string(), errno_text(errno));
  const std::uint32_t lead = offset % kPageSize;
  const std::size_t length = (lead + size + kPageSize - 1) / kPageSize * kPageSize;
  void* base =
      ::mmap(nullptr, length, PROT_READ | PROT_WRITE, MAP_SHARED, file.get(), offset - lead);
  if (base == MAP_FAILED) return fail("cannot map {}: {}", path.string(), errno_text(errno));
  mappings_.push_back({base, length});
  return Registers{static_cast<std::uint8_t*>(base) + lead, size};
}

Result<void> PciMachine::take_memory() {
  constexpr std::size_t kCount = vhost::testing::HostileDriver::kPages;
  constexpr std::uint64_t kPresent = std::uint64_t{1} << 63;
  constexpr std::uint64_t kFrame = (std::uint64_t{1} << 55) - 1;
  // A locked page may still be moved to make room for a large one; the device would not notice.
  (void)write_file("/proc/sys/vm/compact_unevictable_allowed", "0");
  void* base = ::mmap(nullptr, kCount * kPageSize, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_LOCKED | MAP_POPULATE, -1, 0);
  if (base == MAP_FAILED) return fail("cannot lock memory: {}", errno_text(errno));
  mappings_.push_back({base, kCount * kPageSize});
  std::memset(base, 0, kCount * kPageSize);
  const Fd map(::open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC));
  if (!map) return fail("/proc/self/pagemap: {}", errno_text(errno));
  for (std::size_t i = 0; i < kCount; ++i) {
    auto* bytes = static_cast<std::uint8_t*>(base) + i * kPageSize;
    std::uint64_t entry = 0;
    const auto at = static_cast<off_t>(reinterpret_cast<std::uintptr_t>(bytes) / kPageSize * 8);
    if (::pread(map.get(), &entry, 8, at) != 8) {
      return fail("/proc/self/pagemap: {}", errno_text(errno));
    }
    if ((entry & kPresent) == 0 || (entry & kFrame) == 0) {
      return fail("/proc/self/pagemap does not tell where a page is; is this root?");
    }
    pages_.push_back({bytes, (entry & kFrame) * kPageSize});
  }
  return {};
}

/// Everything that /proc/iomem does not call RAM is a place to aim at; here are its edges, the
/// device's own registers, and the ends of the address space. Not the interrupt controllers: QEMU
/// would write there for us, which is an interrupt, and an attacker's own kernel does not survive
/// those.
void PciMachine::find_holes(const PciDevice& device) {
  std::uint64_t end_of_ram = 0;
  std::ifstream iomem("/proc/iomem");
  for (std::string line; std::getline(iomem, line);) {
    std::uint64_t first = 0;
    std::uint64_t last = 0;
    if (!line.ends_with(": System RAM")) continue;
    if (std::sscanf(line.c_str(), "%lx-%lx", &first, &last) != 2) continue;
    end_of_ram = std::max(end_of_ram, last + 1);
  }
  // What lies between this and the machine's last megabyte is the firmware's, but RAM.
  constexpr std::uint64_t kStep = std::uint64_t{16} << 20;
  end_of_ram = (end_of_ram + kStep - 1) / kStep * kStep;
  nowhere_ = {end_of_ram,
              end_of_ram + (std::uint64_t{1} << 40),
              std::uint64_t{1} << 63,
              std::numeric_limits<std::uint64_t>::max() - 31,
              0xa'0000,
              0xffff'fff0};
  std::ifstream resources(device.folder / "resource");
  for (std::string line; std::getline(resources, line);) {
    std::uint64_t first = 0;
    if (std::sscanf(line.c_str(), "0x%lx", &first) == 1 && first != 0) nowhere_.push_back(first);
  }
}

// ---------------------------------------------------------------- registers

void PciMachine::write16(std::uint32_t offset, std::uint16_t value) {
  *reinterpret_cast<volatile std::uint16_t*>(common_.bytes + offset) = value;
}
void PciMachine::write32(std::uint32_t offset, std::uint32_t value) {
  *reinterpret_cast<volatile std::uint32_t*>(common_.bytes + offset) = value;
}
void PciMachine::write64(std::uint32_t offset, std::uint64_t value) {
  write32(offset, static_cast<std::uint32_t>(value));
  write32(offset + 4, static_cast<std::uint32_t>(value >> 32));
}
std::uint16_t PciMachine::read16(std::uint32_t offset) const {
  return *reinterpret_cast<volatile std::uint16_t*>(common_.bytes + offset);
}

std::uint64_t PciMachine::guest_cid() const {
  return *reinterpret_cast<volatile std::uint32_t*>(device_.bytes);
}

void PciMachine::stop() {
  constexpr std::chrono::seconds kPatience{5};
  write8(kDeviceStatus, 0);
  const auto deadline = std::chrono::steady_clock::now() + kPatience;
  while (common_.bytes[kDeviceStatus] != 0 && std::chrono::steady_clock::now() < deadline) {
    std::this_thread::yield();
  }
}

void PciMachine::place_queue(unsigned ring, const QueuePlace& place, bool enable) {
  write16(kQueueSelect, static_cast<std::uint16_t>(ring));
  write16(kQueueSize, place.size);
  write64(kQueueDescriptors, place.descriptors);
  write64(kQueueAvailable, place.available);
  write64(kQueueUsed, place.used);
  if (enable) write16(kQueueEnable, 1);
}

void PciMachine::start(std::uint64_t features, const std::array<QueuePlace, 2>& queues) {
  stop();
  write8(kDeviceStatus, kAcknowledge);
  write8(kDeviceStatus, kAcknowledge | kDriver);
  for (const std::uint32_t half : {0U, 1U}) {
    write32(kDriverFeatureSelect, half);
    write32(kDriverFeature, static_cast<std::uint32_t>(features >> (32 * half)));
  }
  write8(kDeviceStatus, kAcknowledge | kDriver | kFeaturesOk);
  for (unsigned ring = 0; ring < queues.size(); ++ring) place_queue(ring, queues[ring], true);
  write8(kDeviceStatus, kAcknowledge | kDriver | kFeaturesOk | kDriverOk);
}

void PciMachine::move_queue(unsigned ring, const QueuePlace& place) {
  place_queue(ring, place, true);
}

void PciMachine::notify(unsigned ring) {
  *reinterpret_cast<volatile std::uint16_t*>(notify_.bytes + notify_offset_[ring]) =
      static_cast<std::uint16_t>(ring);
}

}  // namespace pinhole::hostile
