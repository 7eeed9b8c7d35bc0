// A machine is its scheduler; kept apart so that users of launches see no fibers.
#include "kernels/emulator/machine.h"

#include "kernels/emulator/scheduler.h"

namespace espalier::kernels::emulator {

Machine::Machine(GlobalMemory& memory, const EmulatorOptions& options)
    : memory_(memory), options_(options), scheduler_(std::make_unique<Scheduler>(*this)) {}
Machine::~Machine() = default;

void Machine::launch(const LaunchShape& shape, const std::function<void()>& body) {
  scheduler_->run(shape, body);
  for (std::size_t kind = 0; kind < counters_.distinct_sectors.size(); ++kind) {
    counters_.distinct_sectors[kind] = memory_.sectors_read(static_cast<MemoryKind>(kind));
  }
}

}  // namespace espalier::kernels::emulator
