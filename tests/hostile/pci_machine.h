// SPDX-License-Identifier: Apache-2.0
// The virtio-vsock PCI device as the guest's root has it without a driver: registers through sysfs'
// resource files, memory with known physical addresses through /proc/self/pagemap.
// Sources: virtio 1.2, chapter 4.1 (PCI transport); Linux's Documentation/PCI/sysfs-pci.rst and
// admin-guide/mm/pagemap.rst.
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/fd.h"
#include "vhost/testing/hostile_driver.h"

namespace pinhole::hostile {

/// Its place in /sys/bus/pci/devices, and who drove it.
struct PciDevice {
  std::filesystem::path folder;
  std::string slot;    // "0000:00:05.0"
  std::string driver;  // "virtio-pci"; empty when none is bound
};
Result<PciDevice> find_vsock_device();
/// Takes the device from its driver. Open vsock streams end.
Result<void> unbind(const PciDevice& device);
/// Gives it to the kernel's driver again.
Result<void> bind(const PciDevice& device);

/// A window into one of the device's memory BARs.
struct Registers {
  volatile std::uint8_t* bytes = nullptr;
  std::uint32_t size = 0;
};

class PciMachine final : public vhost::testing::Machine {
 public:
  /// For a device without a driver: finds its register windows, switches it on as bus master, and
  /// sets memory aside.
  static Result<std::unique_ptr<PciMachine>> open(const PciDevice& device);
  ~PciMachine() override;
  PciMachine(const PciMachine&) = delete;
  PciMachine& operator=(const PciMachine&) = delete;

  void start(std::uint64_t features,
             const std::array<vhost::testing::QueuePlace, 2>& queues) override;
  void stop() override;
  void move_queue(unsigned ring, const vhost::testing::QueuePlace& place) override;
  void notify(unsigned ring) override;
  [[nodiscard]] std::span<const vhost::testing::Page> pages() const override { return pages_; }
  [[nodiscard]] std::vector<std::uint64_t> nowhere() const override { return nowhere_; }

  [[nodiscard]] std::uint64_t guest_cid() const;
  // For attacks on the registers themselves.
  [[nodiscard]] const Registers& common() const { return common_; }
  void write8(std::uint32_t offset, std::uint8_t value) { common_.bytes[offset] = value; }
  void write16(std::uint32_t offset, std::uint16_t value);
  void write32(std::uint32_t offset, std::uint32_t value);
  void write64(std::uint32_t offset, std::uint64_t value);
  [[nodiscard]] std::uint16_t read16(std::uint32_t offset) const;
  void place_queue(unsigned ring, const vhost::testing::QueuePlace& place, bool enable);
  static constexpr unsigned kQueues = 3;  // receive, transmit, events

 private:
  explicit PciMachine(std::string slot) : slot_(std::move(slot)) {}
  Result<void> read_capabilities(const PciDevice& device);
  Result<void> switch_on(const PciDevice& device);
  Result<Registers> map_window(const PciDevice& device, std::uint8_t bar, std::uint32_t offset,
                               std::uint32_t size);
  Result<void> take_memory();
  void find_holes(const PciDevice& device);

  struct Mapping {
    void* base;
    std::size_t size;
  };
  std::string slot_;
  std::vector<Mapping> mappings_;
  Registers common_;
  Registers notify_;
  Registers device_;
  std::uint32_t notify_multiplier_ = 0;
  std::array<std::uint32_t, kQueues> notify_offset_{};
  std::vector<vhost::testing::Page> pages_;
  std::vector<std::uint64_t> nowhere_;
};

}  // namespace pinhole::hostile
