# kvtape_room(<name> SOURCES <files> [LINK <libraries>] [SYSTEM <libraries>])
#
# One static library `kvtape_<name>` per folder. LINK names what its headers need.
# With KVTAPE_TWIN_V4 a second library `kvtape_<name>_v4` is built from the same sources for
# x86-64-v4 (its property KVTAPE_V4 says so); the determinism test compares the two programs bit
# for bit.
function(kvtape_room name)
  cmake_parse_arguments(PARSE_ARGV 1 arg "" "" "SOURCES;LINK;SYSTEM")
  kvtape_library(${name} "" "${arg_SOURCES}" "${arg_LINK}" "${arg_SYSTEM}")
  if(KVTAPE_TWIN_V4)
    kvtape_library(${name} "_v4" "${arg_SOURCES}" "${arg_LINK}" "${arg_SYSTEM}")
    set_target_properties(kvtape_${name}_v4 PROPERTIES KVTAPE_V4 ON)
    # GCC 12 takes the deliberately undefined operands of its own AVX-512 header for mistakes.
    target_compile_options(kvtape_${name}_v4 PRIVATE
      $<$<COMPILE_LANG_AND_ID:CXX,GNU>:-Wno-uninitialized -Wno-maybe-uninitialized>)
  endif()
endfunction()

function(kvtape_library name suffix sources link system)
  set(target kvtape_${name}${suffix})
  add_library(${target} STATIC ${sources})
  target_include_directories(${target} PUBLIC ${PROJECT_SOURCE_DIR})
  target_link_libraries(${target} PUBLIC kvtape_options ${system})
  foreach(room IN LISTS link)
    target_link_libraries(${target} PUBLIC kvtape_${room}${suffix})
  endforeach()
endfunction()
