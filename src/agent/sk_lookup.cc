// SPDX-License-Identifier: Apache-2.0
#include "agent/sk_lookup.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstring>
#include <string_view>
#include <vector>

#include "base/check.h"

namespace pinhole::agent {
namespace {

constexpr std::uint32_t kLoopbackIndex = 1;  // lo's in every network namespace
constexpr std::uint32_t kPresent = 1;

int bpf(bpf_cmd command, bpf_attr& attribute) {
  return static_cast<int>(::syscall(SYS_bpf, command, &attribute, sizeof(attribute)));
}

Result<Fd> create_map(bpf_map_type type, std::uint32_t key_bytes, std::uint32_t value_bytes,
                      std::uint32_t entries) {
  bpf_attr attribute{};
  attribute.map_type = type;
  attribute.key_size = key_bytes;
  attribute.value_size = value_bytes;
  attribute.max_entries = entries;
  Fd map(bpf(BPF_MAP_CREATE, attribute));
  if (!map) return fail("cannot create a BPF map: {}", errno_text(errno));
  return map;
}

Result<void> set_entry(int map, const void* key, const void* value) {
  bpf_attr attribute{};
  attribute.map_fd = static_cast<std::uint32_t>(map);
  attribute.key = reinterpret_cast<std::uintptr_t>(key);
  attribute.value = reinterpret_cast<std::uintptr_t>(value);
  if (bpf(BPF_MAP_UPDATE_ELEM, attribute) != 0)
    return fail("cannot change a BPF map: {}", errno_text(errno));
  return {};
}

Result<void> remove_entry(int map, const void* key) {
  bpf_attr attribute{};
  attribute.map_fd = static_cast<std::uint32_t>(map);
  attribute.key = reinterpret_cast<std::uintptr_t>(key);
  if (bpf(BPF_MAP_DELETE_ELEM, attribute) != 0 && errno != ENOENT)
    return fail("cannot change a BPF map: {}", errno_text(errno));
  return {};
}

/// Makes the map's keys those of `wanted`; `known` is what it holds.
template <typename Key>
Result<void> set_keys(int map, std::set<Key>& known, const std::set<Key>& wanted) {
  for (auto key = known.begin(); key != known.end();) {
    if (wanted.contains(*key)) {
      ++key;
      continue;
    }
    PINHOLE_TRY_VOID(remove_entry(map, &*key));
    key = known.erase(key);
  }
  for (const Key& key : wanted) {
    if (known.contains(key)) continue;
    PINHOLE_TRY_VOID(set_entry(map, &key, &kPresent));
    known.insert(key);
  }
  return {};
}

/// The instructions that are needed, in the order of Linux's include/linux/filter.h.
class Assembler {
 public:
  enum Label : std::uint8_t { kPass, kDrop, kVersion6, kJudge, kLabels };

  void load(int to, int from, std::size_t offset) {  // 32 bits, zero-extended
    add(BPF_LDX | BPF_MEM | BPF_W, to, from, static_cast<int>(offset), 0);
  }
  void store(int base, int offset, int from) {
    add(BPF_STX | BPF_MEM | BPF_W, base, from, offset, 0);
  }
  void store_value(int base, int offset, std::uint32_t value) {
    add(BPF_ST | BPF_MEM | BPF_W, base, 0, offset, value);
  }
  void move(int to, int from) { add(BPF_ALU64 | BPF_MOV | BPF_X, to, from, 0, 0); }
  void set(int to, std::uint32_t value) { add(BPF_ALU | BPF_MOV | BPF_K, to, 0, 0, value); }
  void add_value(int to, int value) {
    add(BPF_ALU64 | BPF_ADD | BPF_K, to, 0, 0, static_cast<std::uint32_t>(value));
  }
  void mask(int to, std::uint32_t value) { add(BPF_ALU | BPF_AND | BPF_K, to, 0, 0, value); }
  void load_map(int to, int map) {
    add(BPF_LD | BPF_DW | BPF_IMM, to, BPF_PSEUDO_MAP_FD, 0, static_cast<std::uint32_t>(map));
    add(0, 0, 0, 0, 0);
  }
  void call(bpf_func_id function) {
    add(BPF_JMP | BPF_CALL, 0, 0, 0, static_cast<std::uint32_t>(function));
  }
  void exit() { add(BPF_JMP | BPF_EXIT, 0, 0, 0, 0); }
  void jump(Label label) { jump_to(BPF_JMP | BPF_JA, 0, 0, label); }
  void jump_equal(int reg, std::uint32_t value, Label label) {
    jump_to(BPF_JMP32 | BPF_JEQ | BPF_K, reg, value, label);
  }
  void jump_other(int reg, std::uint32_t value, Label label) {
    jump_to(BPF_JMP32 | BPF_JNE | BPF_K, reg, value, label);
  }
  /// Of 64 bits, for what a map gave.
  void jump_null(int reg, Label label) { jump_to(BPF_JMP | BPF_JEQ | BPF_K, reg, 0, label); }
  void jump_found(int reg, Label label) { jump_to(BPF_JMP | BPF_JNE | BPF_K, reg, 0, label); }
  void place(Label label) { places_[label] = code_.size(); }

  std::vector<bpf_insn> finish() {
    for (const Jump& jump : jumps_) {
      code_[jump.at].off =
          static_cast<std::int16_t>(static_cast<std::ptrdiff_t>(places_[jump.label]) -
                                    static_cast<std::ptrdiff_t>(jump.at) - 1);
    }
    return std::move(code_);
  }

 private:
  struct Jump {
    std::size_t at;
    Label label;
  };
  void add(int code, int to, int from, int offset, std::uint32_t value) {
    bpf_insn instruction{};
    instruction.code = static_cast<std::uint8_t>(code);
    instruction.dst_reg = static_cast<std::uint8_t>(to & 0xF);
    instruction.src_reg = static_cast<std::uint8_t>(from & 0xF);
    instruction.off = static_cast<std::int16_t>(offset);
    instruction.imm = static_cast<std::int32_t>(value);
    code_.push_back(instruction);
  }
  void jump_to(int code, int reg, std::uint32_t value, Label label) {
    jumps_.push_back({code_.size(), label});
    add(code, reg, 0, 0, value);
  }

  std::vector<bpf_insn> code_;
  std::vector<Jump> jumps_;
  std::array<std::size_t, kLabels> places_{};
};

struct Maps {
  int sockets;
  int ports;
  int addresses;
};

// Registers: 6 holds the context, 7 the family's key of `sockets`, 8 a socket; 10 is the stack.
constexpr int kContext = 6;
constexpr int kFamily = 7;
constexpr int kSocket = 8;
constexpr int kStack = 10;
constexpr int kAddressAt = -16;
constexpr int kKeyAt = -20;

void look_up(Assembler& code, int map, int key_at) {
  code.load_map(1, map);
  code.move(2, kStack);
  code.add_value(2, key_at);
  code.call(BPF_FUNC_map_lookup_elem);
}

/// The destination onto the stack, IPv4 as ::ffff:a.b.c.d; passes 127.0.0.0/8.
void read_address(Assembler& code) {
  code.load(2, kContext, offsetof(bpf_sk_lookup, family));
  code.jump_equal(2, AF_INET6, Assembler::kVersion6);
  code.jump_other(2, AF_INET, Assembler::kPass);
  code.set(kFamily, 0);
  code.load(2, kContext, offsetof(bpf_sk_lookup, local_ip4));
  code.store_value(kStack, kAddressAt, 0);
  code.store_value(kStack, kAddressAt + 4, 0);
  code.store_value(kStack, kAddressAt + 8, htonl(0xFFFF));
  code.store(kStack, kAddressAt + 12, 2);
  code.mask(2, htonl(0xFF000000));
  code.jump_equal(2, htonl(0x7F000000), Assembler::kPass);
  code.jump(Assembler::kJudge);
  code.place(Assembler::kVersion6);
  code.set(kFamily, 1);
  for (int word = 0; word < 4; ++word) {
    code.load(2, kContext, offsetof(bpf_sk_lookup, local_ip6) + static_cast<std::size_t>(4 * word));
    code.store(kStack, kAddressAt + 4 * word, 2);
  }
  code.place(Assembler::kJudge);
}

std::vector<bpf_insn> assemble(const Maps& maps, bool knows_interface) {
  Assembler code;
  code.move(kContext, 1);
  if (knows_interface) {
    code.load(2, kContext, offsetof(bpf_sk_lookup, ingress_ifindex));
    code.jump_other(2, kLoopbackIndex, Assembler::kPass);
  }
  read_address(code);
  look_up(code, maps.addresses, kAddressAt);
  code.jump_found(0, Assembler::kPass);
  code.load(2, kContext, offsetof(bpf_sk_lookup, protocol));
  code.jump_other(2, IPPROTO_TCP, Assembler::kDrop);
  code.load(2, kContext, offsetof(bpf_sk_lookup, local_port));
  code.store(kStack, kKeyAt, 2);
  look_up(code, maps.ports, kKeyAt);
  code.jump_null(0, Assembler::kDrop);
  code.store(kStack, kKeyAt, kFamily);
  look_up(code, maps.sockets, kKeyAt);
  code.jump_null(0, Assembler::kDrop);
  code.move(kSocket, 0);
  code.move(1, kContext);
  code.move(2, kSocket);
  code.set(3, 0);
  code.call(BPF_FUNC_sk_assign);
  code.move(kFamily, 0);
  code.move(1, kSocket);
  code.call(BPF_FUNC_sk_release);
  code.jump_other(kFamily, 0, Assembler::kDrop);
  code.place(Assembler::kPass);
  code.set(0, SK_PASS);
  code.exit();
  code.place(Assembler::kDrop);
  code.set(0, SK_DROP);
  code.exit();
  return code.finish();
}

Fd load_program(const std::vector<bpf_insn>& code) {
  bpf_attr attribute{};
  attribute.prog_type = BPF_PROG_TYPE_SK_LOOKUP;
  attribute.expected_attach_type = BPF_SK_LOOKUP;
  attribute.insns = reinterpret_cast<std::uintptr_t>(code.data());
  attribute.insn_cnt = static_cast<std::uint32_t>(code.size());
  attribute.license = reinterpret_cast<std::uintptr_t>("Apache-2.0");
  constexpr std::string_view kName = "pinhole";
  std::memcpy(attribute.prog_name, kName.data(), kName.size());
  return Fd(bpf(BPF_PROG_LOAD, attribute));
}

}  // namespace

Result<SkLookup> SkLookup::attach(int listener4, int listener6) {
  SkLookup lookup;
  PINHOLE_TRY(lookup.sockets_, create_map(BPF_MAP_TYPE_SOCKMAP, 4, 8, 2));
  PINHOLE_TRY(lookup.ports_, create_map(BPF_MAP_TYPE_HASH, 4, 4, kPorts));
  PINHOLE_TRY(lookup.addresses_, create_map(BPF_MAP_TYPE_HASH, 16, 4, kAddresses));
  std::uint32_t family = 0;
  for (const int listener : {listener4, listener6}) {
    const auto value = static_cast<std::uint64_t>(listener);
    if (listener >= 0) PINHOLE_TRY_VOID(set_entry(lookup.sockets_.get(), &family, &value));
    ++family;
  }
  const Maps maps{lookup.sockets_.get(), lookup.ports_.get(), lookup.addresses_.get()};
  lookup.program_ = load_program(assemble(maps, true));
  // Linux before 5.17 does not tell the interface.
  if (!lookup.program_) lookup.program_ = load_program(assemble(maps, false));
  if (!lookup.program_) return fail("cannot load the SK_LOOKUP program: {}", errno_text(errno));
  const Fd here(::open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC));
  if (!here) return fail("cannot open /proc/self/ns/net: {}", errno_text(errno));
  bpf_attr attribute{};
  attribute.link_create.prog_fd = static_cast<std::uint32_t>(lookup.program_.get());
  attribute.link_create.target_fd = static_cast<std::uint32_t>(here.get());
  attribute.link_create.attach_type = BPF_SK_LOOKUP;
  lookup.link_ = Fd(bpf(BPF_LINK_CREATE, attribute));
  if (!lookup.link_) return fail("cannot attach the SK_LOOKUP program: {}", errno_text(errno));
  return lookup;
}

Result<void> SkLookup::set_ports(std::span<const std::uint16_t> ports) {
  return set_keys(ports_.get(), known_ports_, std::set<std::uint32_t>(ports.begin(), ports.end()));
}

Result<void> SkLookup::set_own_addresses(std::span<const Address6> addresses) {
  return set_keys(addresses_.get(), known_addresses_,
                  std::set<Address6>(addresses.begin(), addresses.end()));
}

}  // namespace pinhole::agent
