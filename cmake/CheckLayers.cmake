# cmake -D ROOT=<repository> -P cmake/CheckLayers.cmake
#
# Checks what the compiler cannot see behind one shared include root: which room includes which,
# where third-party headers may appear, and that nothing below tools/ prints, exits, reads the
# environment or asks about devices. Names every offence as file:line.
cmake_minimum_required(VERSION 3.25)

set(rooms core trace policies model sim analyze tools tests)

# What a file of a room may include: regular expressions over the included path.
set(core_includes "core/")
set(trace_includes "core/|trace/")
set(policies_includes "core/|policies/")
set(model_includes "core/|model/")
set(sim_includes "core/|sim/|policies/|trace/(trace|decisions)\\.hpp$")
set(analyze_includes "core/|trace/|sim/|analyze/")
set(tools_includes "core/|trace/|policies/|model/|sim/|analyze/|tools/")
set(tests_includes "core/|trace/|policies/|model/|sim/|analyze/|tools/|tests/")

# Where a third-party header may appear: pairs of header and file expressions.
set(foreign
  "hdf5|H5[A-Za-z]*public" "^(trace|tests)/"
  "boost/" "^(tools|tests)/"
  "cuda|cublas|cub/|thrust/|nv|cooperative_groups" "^(model/cuda|tests)/"
  "pcre2" "^(model|tests)/"
  "catch2/" "^tests/"
  "nlohmann/" "^core/json\\.(hpp|cpp)$")

set(word_start "(^|[^A-Za-z0-9_])")
set(printing "std::(cout|cerr|clog)|#include <iostream>|${word_start}(f?printf|f?puts|putchar|perror)\\(")
set(ending "${word_start}(_?exit|_Exit|quick_exit|abort|terminate|system)\\(")
set(environment "${word_start}(secure_)?(get|set|put|unset)env\\(")
set(device "#[ ]*(el)?if.*(CUDA|GPU|NVCC)")

function(offence file number text)
  message(NOTICE "${file}:${number}: ${text}")
  math(EXPR offences "${offences} + 1")
  set(offences ${offences} PARENT_SCOPE)
endfunction()

function(check_include file room number line)
  if(line MATCHES "^#include \"([^\"]+)\"")
    set(included ${CMAKE_MATCH_1})
    if(NOT included MATCHES "^(${${room}_includes})")
      offence(${file} ${number} "${room} may not include ${included}")
    endif()
  elseif(line MATCHES "^#include <([^>]+)>")
    set(included ${CMAKE_MATCH_1})
    set(pairs ${foreign})
    while(pairs)
      list(POP_FRONT pairs header place)
      if(included MATCHES "^(${header})" AND NOT file MATCHES "${place}")
        offence(${file} ${number} "<${included}> belongs to ${place}")
      endif()
    endwhile()
  endif()
  set(offences ${offences} PARENT_SCOPE)
endfunction()

function(check_line file room number line)
  if(line MATCHES "^#include")
    check_include(${file} ${room} ${number} "${line}")
  endif()
  string(REGEX REPLACE "//.*" "" code "${line}")
  if(NOT room MATCHES "^(tools|tests)$")
    if(code MATCHES "${printing}")
      offence(${file} ${number} "nothing below tools/ prints; throw an Error or return the text")
    elseif(code MATCHES "${ending}")
      offence(${file} ${number} "nothing below tools/ ends the program; throw an Error")
    elseif(code MATCHES "${environment}")
      offence(${file} ${number} "nothing below tools/ reads the environment; take a parameter")
    endif()
  endif()
  if(code MATCHES "${device}" AND NOT file MATCHES "^model/cuda/")
    offence(${file} ${number} "devices are chosen by CMake, not by the preprocessor")
  endif()
  set(offences ${offences} PARENT_SCOPE)
endfunction()

function(check_file file room)
  file(READ ${ROOT}/${file} text)
  # These four characters would make CMake cut or join list elements; no expression above needs them.
  string(REGEX REPLACE "[][;\\]" "" text "${text}")
  string(REPLACE "\n" ";" lines "${text}")
  set(number 0)
  foreach(line IN LISTS lines)
    math(EXPR number "${number} + 1")
    if(line MATCHES "#|std::c|put|print|perror|exit|Exit|abort|terminate|system|env")
      check_line(${file} ${room} ${number} "${line}")
    endif()
  endforeach()
  set(offences ${offences} PARENT_SCOPE)
endfunction()

set(offences 0)
set(checked 0)
foreach(room IN LISTS rooms)
  file(GLOB_RECURSE files RELATIVE ${ROOT}
    ${ROOT}/${room}/*.hpp ${ROOT}/${room}/*.inl ${ROOT}/${room}/*.cpp ${ROOT}/${room}/*.cu ${ROOT}/${room}/*.cuh)
  foreach(file IN LISTS files)
    check_file(${file} ${room})
    math(EXPR checked "${checked} + 1")
  endforeach()
endforeach()
if(checked EQUAL 0)
  message(FATAL_ERROR "there are no sources under ${ROOT}")
endif()
if(offences GREATER 0)
  message(FATAL_ERROR "${offences} offences against docs/architecture.md in ${checked} files")
endif()
message(STATUS "layers hold in ${checked} files")
