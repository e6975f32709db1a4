#include "sim/moments.hpp"

#include <algorithm>

namespace kvtape {

std::vector<Step> steps_of(const Schedule& schedule,
                           const Needs& needs,
                           const SequenceInfo& sequence) {
    const std::vector<Block> blocks = schedule.blocks(sequence);
    std::vector<Step> steps;
    for (std::int32_t index = 0; index <= schedule.last_decision(sequence); ++index) {
        const Block& block = blocks[static_cast<std::size_t>(index)];
        const bool decides = schedule.decides(static_cast<std::size_t>(index), sequence);
        const Position length = index == 0 && needs.block > 0 ? needs.block : block.end;
        Position begin = block.begin;
        do {
            const Position end = block.end - begin > length ? begin + length : block.end;
            steps.push_back({{begin, end, block.decoding}, index, decides, block});
            begin = end;
        } while (begin < block.end);
    }
    return steps;
}

}  // namespace kvtape
