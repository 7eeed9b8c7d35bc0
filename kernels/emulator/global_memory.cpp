// Bounds, direction and initialisation of global accesses.
#include "kernels/emulator/global_memory.h"

#include <fmt/core.h>

#include <algorithm>
#include <cstring>

#include "core/error.h"

namespace espalier::kernels::emulator {
namespace {

constexpr std::size_t kAlignment = 256;  // as device allocations have
constexpr std::size_t kWord = 2;         // neighbouring rows of 16-bit numbers meet within four bytes
constexpr std::size_t kSector = 32;
constexpr std::uint32_t kHost = 1;  ///< as a writer

}  // namespace

Piece& GlobalMemory::add(std::string name, MemoryKind kind, std::size_t bytes) {
  Piece piece;
  piece.name = std::move(name);
  piece.kind = kind;
  piece.bytes = bytes;
  piece.storage = std::make_unique_for_overwrite<std::byte[]>(bytes + 2 * kAlignment);
  const auto start = reinterpret_cast<std::uintptr_t>(piece.storage.get());
  piece.begin = piece.storage.get() + (kAlignment - start % kAlignment) % kAlignment;
  std::memset(piece.begin, 0xFF, bytes);
  piece.read.assign((bytes + kSector - 1) / kSector, false);
  pieces_.push_back(std::move(piece));
  return pieces_.back();
}

const void* GlobalMemory::upload_bytes(std::string name, MemoryKind kind, const void* from, std::size_t bytes) {
  Piece& piece = add(std::move(name), kind, bytes);
  if (bytes > 0) std::memcpy(piece.begin, from, bytes);
  return piece.begin;
}

void* GlobalMemory::allocate(std::string name, MemoryKind kind, std::size_t bytes) {
  Piece& piece = add(std::move(name), kind, bytes);
  piece.writable = true;
  piece.written.assign((bytes + kWord - 1) / kWord, 0);
  return piece.begin;
}

void* GlobalMemory::allocate_zeroed(std::string name, MemoryKind kind, std::size_t bytes) {
  Piece& piece = add(std::move(name), kind, bytes);
  piece.writable = true;
  piece.written.assign((bytes + kWord - 1) / kWord, kHost);
  std::memset(piece.begin, 0, bytes);
  return piece.begin;
}

void GlobalMemory::renew(const void* begin) {
  Piece* piece = find(static_cast<const std::byte*>(begin));
  if (piece == nullptr) return;  // of no bytes
  std::memset(piece->begin, 0xFF, piece->bytes);
  std::fill(piece->written.begin(), piece->written.end(), 0);
}

void GlobalMemory::overwrite(void* to, const void* from, std::size_t bytes) {
  if (bytes == 0) return;
  const Piece* piece = find(static_cast<const std::byte*>(to));
  ESPALIER_CHECK(piece != nullptr &&
                 bytes <= piece->bytes - static_cast<std::size_t>(static_cast<std::byte*>(to) - piece->begin));
  std::memcpy(to, from, bytes);
}

std::int64_t GlobalMemory::sectors_read(MemoryKind kind) const {
  std::int64_t sectors = 0;
  for (const Piece& piece : pieces_) {
    if (piece.kind == kind) sectors += std::count(piece.read.begin(), piece.read.end(), true);
  }
  return sectors;
}

Piece* GlobalMemory::find(const std::byte* address) {
  const auto holds = [&](const Piece& p) { return address >= p.begin && address < p.begin + p.bytes; };
  if (last_ < pieces_.size() && holds(pieces_[last_])) return &pieces_[last_];
  const auto found = std::find_if(pieces_.begin(), pieces_.end(), holds);
  if (found == pieces_.end()) return nullptr;
  last_ = static_cast<std::size_t>(found - pieces_.begin());
  return &*found;
}

GlobalMemory::Verdict GlobalMemory::check(Access access, const void* address, std::size_t bytes, std::uint32_t block) {
  const char* verb = access == Access::write ? "write" : "read";
  const auto* at = static_cast<const std::byte*>(address);
  Piece* piece = find(at);
  if (piece == nullptr) return {nullptr, fmt::format("{} of {} bytes outside all global memory", verb, bytes)};
  const auto offset = static_cast<std::size_t>(at - piece->begin);
  const auto place = [&] {
    return fmt::format("{} of {} bytes at offset {} of {} ({} bytes)", verb, bytes, offset, piece->name, piece->bytes);
  };
  if (bytes > piece->bytes - offset) return {piece, place() + ", past its end"};
  if (access == Access::write && !piece->writable) return {piece, place() + ", which kernels may only read"};
  if (access != Access::write) {
    const auto sector = piece->read.begin() + static_cast<std::ptrdiff_t>(offset / kSector);
    std::fill(sector, piece->read.begin() + static_cast<std::ptrdiff_t>((offset + bytes - 1) / kSector) + 1, true);
  }
  if (piece->writable) {
    const std::size_t first = offset / kWord, last = (offset + bytes - 1) / kWord;
    const std::uint32_t self = first_writer_ + block;
    for (std::size_t word = first; word <= last; ++word) {
      std::uint32_t& writer = piece->written[word];
      if (access == Access::write) {
        writer = self;
      } else if (writer == 0) {
        return {piece, place() + ", where nothing has been written"};
      } else if (access == Access::read && writer >= first_writer_ && writer != self) {
        return {
            piece,
            fmt::format("{}, which block {} wrote in this launch: the first-level cache may hold what was there before",
                        place(), writer - first_writer_)};
      }
    }
  }
  return {piece, {}};
}

}  // namespace espalier::kernels::emulator
