// SPDX-License-Identifier: Apache-2.0
// Between QEMU's vhost-user-fs device and virtiofsd: passes their messages on, and answers in
// virtiofsd's place once that has died.
//
// A guest waits for ever for a file request that was under way when its server died: nothing can
// interrupt the waiting process, and the kernel (Linux 6.1, virtio_fs_remove) does not let go of the
// device before the request is answered, so that the device cannot be replaced either. The requests
// themselves go through shared memory, past this program; it only sees how that is set up, which is
// enough to find what is left unanswered and give it back with an error.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "base/error.h"
#include "base/fd.h"
#include "sys/event_loop.h"
#include "vhost/messages.h"
#include "vhost/virtqueue.h"

namespace pinhole::fsguard {

/// vhost-user-fs-pci has a queue for urgent requests and one for the others.
inline constexpr std::size_t kMaxRings = 4;
/// What both sides may agree upon: no more than what is understood here. virtiofsd offers the
/// migration log and more.
inline constexpr std::uint64_t kPassedFeatures = vhost::kFeatureVersion1 | vhost::kFeatureEventIdx |
                                                 vhost::kFeatureIndirect | vhost::kFeatureProtocol;

/// Requests answered before QEMU's messages have their turn: a guest that adds new ones as fast as they are refused
/// keeps nobody waiting. Small, because a test goes past it.
inline constexpr std::size_t kRefusedPerTurn = 4;

/// Messages of one socket, whole, each with its own descriptors.
class MessageReader {
 public:
  struct Bytes {
    std::vector<std::uint8_t> bytes;  // header and payload
    std::vector<Fd> fds;
  };
  /// The next message; nothing when it is not complete yet. An error also at the end of the stream.
  Result<std::optional<Bytes>> next(int socket);

 private:
  std::vector<std::uint8_t> have_;
  std::vector<Fd> fds_;
};

class Guard {
 public:
  /// Both sockets are connected and not blocking. `ended` is called once, when QEMU has closed its
  /// end or broken the protocol.
  static Result<std::unique_ptr<Guard>> start(sys::EventLoop& loop, Fd qemu, Fd server,
                                              std::function<void()> ended);
  Guard(const Guard&) = delete;
  Guard& operator=(const Guard&) = delete;

  /// Requests that were answered with an error.
  [[nodiscard]] std::uint64_t refused() const { return refused_; }

 private:
  struct Ring {
    vhost::RingLayout layout;
    Fd kick, call;
    sys::Watch watch;  // of the kick, while this program answers
    vhost::Virtqueue queue;
  };

  Guard(sys::EventLoop& loop, Fd qemu, Fd server, std::function<void()> ended);
  void from_qemu();
  void from_server();
  Result<void> take(MessageReader::Bytes message);
  Result<void> remember(const vhost::Message& message, std::vector<Fd> fds);
  Result<void> remember_ring(const vhost::Message& message, std::vector<Fd>& fds);
  Result<void> answer(const vhost::Message& message);
  Result<void> pass_reply(MessageReader::Bytes message);
  void server_died();
  Result<void> serve(Ring& ring);
  void refuse_all(Ring& ring);
  void end();

  sys::EventLoop& loop_;
  Fd qemu_, server_;
  sys::Watch qemu_watch_, server_watch_;
  MessageReader qemu_reader_, server_reader_;
  std::function<void()> ended_;
  bool over_ = false;
  /// QEMU waits for the reply to this one.
  std::optional<vhost::Message> asked_;

  std::uint64_t features_ = 0;
  std::vector<vhost::MemoryRegion> regions_;
  std::vector<Fd> region_fds_;
  vhost::GuestMemory memory_;  // mapped only once it is needed
  std::array<Ring, kMaxRings> rings_;
  std::uint64_t refused_ = 0;
};

/// Writes the reply to the FUSE request in `chain`: -ENOTCONN, which is what a device that is gone
/// gives (linux/fuse.h, struct fuse_out_header). Returns the bytes written; 0 for a request that has
/// no reply.
std::uint32_t write_refusal(const vhost::Chain& chain);

}  // namespace pinhole::fsguard
